"""What every live call works with, and the rules it keeps."""

from collections.abc import Callable
from typing import Protocol

import trio
from attrs import define, field, frozen

from actors.alerts import Alerts
from actors.live_call.course import CallRules
from actors.live_call.line import Line
from actors.live_call.ports import LiveCallStore, RecordingStore
from actors.live_call.telephony import Telephony
from actors.live_call.transfer_desk import Advisors
from actors.live_call.voice import Voice
from actors.live_call.wording import Words
from actors.ports import WallClock


class CallMetrics(Protocol):
    def live_call_ended(self, ending: str, seconds: float, /) -> None: ...

    def transfer_ended(self, outcome: str, /) -> None: ...


class Tokens(Protocol):
    """One-time tokens for the agent's streams; whether one was used stands in the call's state."""

    def token_of(self, live_call_id: int, leg: int) -> str: ...

    def read(self, token: str) -> tuple[int, int] | None:
        """The live call and the leg of a token of ours; None for anything else."""
        ...


@define(eq=False)
class Lines:
    """The streams that are open now, by live call, with the leg they are for.

    A stream lives in its connection's task, so that it outlives a crash of its call's actor.
    """

    _lines: dict[int, tuple[int, Line]] = field(factory=dict)

    def put(self, live_call_id: int, leg: int, line: Line) -> None:
        self._lines[live_call_id] = (leg, line)

    def drop(self, live_call_id: int, leg: int) -> None:
        """Forget the line of this leg; one of another leg stays."""
        if self._lines.get(live_call_id, (None, None))[0] == leg:
            del self._lines[live_call_id]

    def get(self, live_call_id: int) -> tuple[int, Line] | None:
        """The line of a call; one that has ended, whoever was told of it, is forgotten."""
        found = self._lines.get(live_call_id)
        if found is not None and not found[1].is_open:
            self.drop(live_call_id, found[0])
            return None
        return found

    def __len__(self) -> int:
        return len(self._lines)


@define(eq=False)
class ActiveCalls:
    """The calls that have not ended and have their actor now."""

    _ids: set[int] = field(factory=set, init=False)
    _ended: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def add(self, live_call_id: int) -> None:
        self._ids.add(live_call_id)

    def remove(self, live_call_id: int) -> None:
        self._ids.discard(live_call_id)
        self._ended.unpark_all()

    def __len__(self) -> int:
        return len(self._ids)

    async def until_none(self) -> None:
        """Wait until all have ended."""
        while self._ids:
            await self._ended.park()


@frozen(kw_only=True)
class LiveCallRules:
    """Limits and choices of every live call; see `[voice]` and `[transfer]` in config.toml.

    Attributes:
        steps: the time limits of the state machine.
        agent_id: the voice agent.
        advisor_talk_max_s: for an advisor's leg.
        history_messages: latest WhatsApp messages that the agent is told.
        follows_up: whether a call that has ended goes on in WhatsApp.
        save_s: how long a state may take to be stored; then the call goes on without.
        caller_check_s: how often Twilio is asked whether the caller is still there.
    """

    steps: CallRules
    agent_id: str
    advisor_talk_max_s: int
    history_messages: int
    follows_up: bool
    save_s: float = 2.0
    caller_check_s: float = 20.0


@frozen(kw_only=True)
class LiveCallWorld:
    """What a live call works with.

    Attributes:
        details_due: tells the call monitor that a call's details are wanted.
        recordings_due: tells the voicemail that a recording is to be fetched.
    """

    store: LiveCallStore
    recordings: RecordingStore
    telephony: Telephony
    voice: Voice
    advisors: Advisors
    words: Words
    lines: Lines
    active: ActiveCalls
    tokens: Tokens
    alerts: Alerts
    metrics: CallMetrics
    clock: WallClock
    details_due: Callable[[], None]
    recordings_due: Callable[[], None]
