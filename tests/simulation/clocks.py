from datetime import datetime, timedelta

from attrs import define

from tests.memory.clock import VirtualClock

_TRUE = VirtualClock()


@define
class JumpingClock:
    """`WallClock` of the machine: set forward and back now and then. Twilio and ElevenLabs have the true time."""

    offset: timedelta = timedelta()

    def now(self) -> datetime:
        return _TRUE.now() + self.offset

    def true(self, moment: datetime) -> datetime:
        """What a moment by this clock, as it goes now, is by the true time."""
        return moment - self.offset
