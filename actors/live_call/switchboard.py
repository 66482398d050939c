"""The switchboard: how the routes and the streams reach a live call, and wait for its answer.

The call's actor answers in milliseconds. Who waits on the telephone is never kept longer than `answer_s`: then the
request is answered without it, and what happened is taken in all the same.
"""

import re
from collections.abc import Callable
from typing import Final

import structlog
import trio
from attrs import evolve, frozen

from actors.live_call import events
from actors.live_call.effects import Answer
from actors.live_call.line import Line, LineEvent, LineOpened, Report
from actors.live_call.mail import Admit, Answered, AskForAdvisor, AwaitSid, CallMessage, Happened, OnLine
from actors.live_call.ports import LiveCall, LiveCallStore
from actors.live_call.reports import IncomingCall
from actors.live_call.state import Mode
from actors.live_call.world import ActiveCalls, Tokens
from actors.ports import WallClock
from actors.runtime.mailbox import ActorGoneError, Reply

_log = structlog.get_logger(__name__)

ASKED_TIMES: Final = 2


@frozen(kw_only=True)
class Switchboard:
    """Used by the voice routes, by the stream route and by the voicemail.

    Attributes:
        post: a message for a live call; false when it cannot be taken.
        mode: of calls that begin now.
        active: the calls that there are now.
        calls_max: at a time; the next caller hears that all lines are busy.
    """

    store: LiveCallStore
    post: Callable[[int, CallMessage], bool]
    tokens: Tokens
    clock: WallClock
    mode: Mode
    active: ActiveCalls
    calls_max: int
    answer_s: float = 8.0

    @property
    def is_full(self) -> bool:
        return len(self.active) >= self.calls_max

    async def begin(self, incoming: IncomingCall) -> Answered | None:
        """Somebody calls: the call is stored, and then begun.

        None when its actor gives no answer in time. Raises `StoreUnavailableError`.
        """
        call = await self.store.begin(incoming, mode=self.mode, now=self.clock.now())
        return await self.tell(call.id, events.Begin())

    async def tell(self, live_call_id: int, event: events.CallEvent) -> Answered | None:
        """Tell a call what has happened; its answer, None when it gives none in time."""
        return await self._ask(live_call_id, lambda: Happened(event))

    async def ask_for_advisor(self, live_call_id: int, asked: AskForAdvisor) -> Answered | None:
        """The call's answer, None when it gives none in time."""
        return await self._ask(live_call_id, lambda: evolve(asked, reply=Reply()))

    async def sid_of(self, live_call_id: int, leg: int, *, within_s: float) -> str | None:
        """The SID of a leg that is being dialled; None when it could not be, or is not known in time."""
        asked = AwaitSid(leg)
        if not self.post(live_call_id, asked):
            return None
        try:
            return await asked.reply.wait(timeout_s=within_s)
        except (trio.TooSlowError, ActorGoneError):
            return None

    async def find(self, call_sid: str) -> LiveCall | None:
        """The live call whose caller has this leg. Raises `StoreUnavailableError`."""
        live_call_id = await self.store.find(call_sid)
        return None if live_call_id is None else await self.store.load(live_call_id)

    async def admit(self, token: str, call_sid: str, line: Line) -> Report | None:
        """Let a stream in whose token is ours, unused, and for a leg that is wanted now; None for any other.

        `call_sid` proves nothing: the leg that streams has one of its own, as a rule not the one that was dialled.
        """
        read = self.tokens.read(token)
        if read is None:
            # Said by whoever opened the socket, who may be anybody: a log takes no text of theirs.
            _log.warning("stream refused: no token of ours", call_sid=call_sid if _is_sid(call_sid) else None)
            return None
        live_call_id, leg = read
        answered = await self._ask(live_call_id, lambda: Admit(leg, line))
        if answered is None or answered.answer is not Answer.ADMITTED:
            _log.warning("stream refused", live_call_id=live_call_id, leg=leg)
            return None

        def report(event: LineEvent) -> None:
            if not isinstance(event, LineOpened):
                self.post(live_call_id, OnLine(leg, event))

        return report

    async def _ask(
        self, live_call_id: int, question: Callable[[], Happened | Admit | AskForAdvisor]
    ) -> Answered | None:
        """Asked once more where an actor crashes of it or beside it: the next life answers."""
        for _ in range(ASKED_TIMES):
            asked = question()
            if not self.post(live_call_id, asked):
                return None
            try:
                return await asked.reply.wait(timeout_s=self.answer_s)
            except trio.TooSlowError:
                _log.error("a live call gives no answer", live_call_id=live_call_id)
                return None
            except ActorGoneError:
                # It has crashed, which was logged; or there is none, as when it was erased meanwhile.
                _log.warning("a live call is not there to answer", live_call_id=live_call_id)
        return None


def _is_sid(text: str) -> bool:
    return re.fullmatch("CA[0-9a-f]{32}", text) is not None
