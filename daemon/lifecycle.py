"""The daemon's phases, and the signals that move it through them."""

import signal
from enum import StrEnum

import structlog
import trio

_log = structlog.get_logger(__name__)


class Phase(StrEnum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Lifecycle:
    """Which phase it is. Phases only go forward."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self._drain_asked = trio.Event()

    @property
    def is_serving(self) -> bool:
        return self.phase is Phase.SERVING

    @property
    def is_up(self) -> bool:
        """Serving, or finishing what is under way."""
        return self.phase is not Phase.STARTING

    def begin_serving(self) -> None:
        if self.phase is Phase.STARTING:
            self.phase = Phase.SERVING

    def begin_drain(self) -> None:
        """Ask the daemon to finish what is under way and end."""
        self.phase = Phase.DRAINING
        self._drain_asked.set()

    async def until_drain(self) -> None:
        await self._drain_asked.wait()


async def obey_signals(
    lifecycle: Lifecycle, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    """SIGTERM and SIGINT drain; a second one cancels `everything` at once. Runs until cancelled."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            if lifecycle.phase is Phase.DRAINING:
                _log.warning("stopping at once", signal=name)
                everything.cancel(reason=f"second {name}")
                return
            _log.info("draining", signal=name)
            lifecycle.begin_drain()
