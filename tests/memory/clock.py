from datetime import UTC, datetime, timedelta

import trio

BEGINNING = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


class VirtualClock:
    """`WallClock` that goes with trio's clock, which begins at 0 in a test in virtual time.

    `ahead` is by how much it was set forward since.
    """

    ahead = timedelta()

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=trio.current_time()) + self.ahead
