"""What may befall a life of the daemon at each call of a port: it is killed, or the caller crashes."""

from typing import Protocol

import trio
from attrs import frozen

from tests.simulation.chance import Chance, Fault
from tests.simulation.trace import Trace


class InjectedCrashError(Exception):
    """A bug that nobody foresaw, at the port call where it was planted."""


class Mortal(Protocol):
    @property
    def is_dead(self) -> bool: ...

    def kill(self) -> None:
        """Cancel everything; nothing of it may take effect from then on."""
        ...


@frozen
class Perils:
    life: Mortal
    chance: Chance
    trace: Trace

    async def strike(self, call: str, weight: float = 1.0) -> None:
        """To be called before and after the effect of a port call; so a life ends between any two effects.

        An end is worth more at some calls than at others, and so more likely by `weight`.

        Raises:
            InjectedCrashError: the caller crashes here.
        """
        if not self.life.is_dead and self.chance.strikes(Fault.KILLED, weight):
            self.trace.note("KILLED at", call)
            self.life.kill()
        if self.life.is_dead:
            await trio.sleep_forever()
        if self.chance.strikes(Fault.CRASH, weight):
            self.trace.note("CRASH at", call)
            raise InjectedCrashError(call)
