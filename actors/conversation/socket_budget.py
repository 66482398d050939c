"""How many agent sockets may be open at once, and who gives way."""

from typing import Protocol

import trio

YIELD_TIMEOUT_S = 5.0
"""A holder that was asked to give way closes its socket politely, which takes it a second at most."""
RAISE_EVERY_S = 60.0
RAISES = 20
"""A lowered limit is whole again after so many raises at most."""


class NoSeatError(Exception):
    """Every socket is in use, and nobody could give way."""


class SocketHolder(Protocol):
    @property
    def idle_since(self) -> float | None:
        """Monotonic time since when its socket serves nobody; None while it does."""
        ...

    def give_way(self) -> None:
        """Close the socket soon."""
        ...


class SocketBudget:
    """Seats for `limit` sockets.

    Somebody who waits for an answer is worth more than a socket that is kept for the next question: when all
    seats are taken, the longest idle holder is asked to give way. A socket that nobody needs yet gets a seat
    only where it takes it from nobody.

    The limit is ours; where the other side takes fewer sockets, the limit is lowered for a while.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lowered_to = limit
        self._lowered_at = 0.0
        self._holders: set[SocketHolder] = set()
        self._leaving: set[SocketHolder] = set()
        self._waiting = 0
        self._freed = trio.Event()

    def __len__(self) -> int:
        return len(self._holders)

    @property
    def is_exhausted(self) -> bool:
        return len(self._holders) >= self.limit

    @property
    def limit(self) -> int:
        """How many sockets there may be now."""
        raises = int((trio.current_time() - self._lowered_at) // RAISE_EVERY_S)
        return min(self._limit, self._lowered_to + raises * max(1, self._limit // RAISES))

    @property
    def is_lowered(self) -> bool:
        return self._lowered_to < self._limit and self.limit < self._limit

    def lower(self) -> None:
        """The other side took one socket less than we have. Later the limit is raised again, step by step."""
        self._lowered_to = max(1, min(self.limit, len(self._holders) - 1))
        self._lowered_at = trio.current_time()

    async def take(self, holder: SocketHolder, *, is_ahead: bool = False) -> None:
        """Take a seat, for which somebody idle may have to give way. Leave it with `leave`.

        With `is_ahead` nobody needs the socket yet: nobody gives way to it, and who needs one comes first.

        Raises:
            NoSeatError: there was none within a few seconds.
        """
        self._waiting += not is_ahead
        try:
            with trio.move_on_after(YIELD_TIMEOUT_S):
                while self.is_exhausted or (is_ahead and self._waiting):
                    if not is_ahead:
                        self._ask_the_longest_idle()
                    await self._freed.wait()
        finally:
            self._waiting -= not is_ahead
        if self.is_exhausted or (is_ahead and self._waiting):
            raise NoSeatError
        self._holders.add(holder)

    def leave(self, holder: SocketHolder) -> None:
        self._holders.discard(holder)
        self._leaving.discard(holder)
        self._freed.set()
        self._freed = trio.Event()

    def fell_idle(self) -> None:
        """A holder has become idle: while anybody waits, the longest idle one is asked to give way."""
        if self.is_exhausted:
            self._ask_the_longest_idle()

    def _ask_the_longest_idle(self) -> None:
        # As many are asked as there are who wait, and no more.
        if len(self._leaving) >= self._waiting:
            return
        idle = [(holder.idle_since, holder) for holder in self._holders if holder.idle_since is not None]
        if idle:
            holder = min(idle, key=lambda pair: pair[0])[1]
            self._leaving.add(holder)
            holder.give_way()
