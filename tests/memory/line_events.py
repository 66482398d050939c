from typing import Any

import trio
from attrs import define, field

from actors.live_call.line import LineEvent


@define(eq=False)
class LineEvents:
    """What a line has told, in order; `news` wakes whoever waits for more."""

    events: list[LineEvent] = field(factory=list, init=False)
    news: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def report(self, event: LineEvent) -> None:
        self.events.append(event)
        self.news.unpark_all()

    def told(self, kind: type[LineEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[LineEvent], count: int = 1) -> Any:
        """The n-th of its kind, once there are so many."""
        while len(self.told(kind)) < count:
            await self.news.park()
        return self.told(kind)[count - 1]
