"""Twilio's voice routes: what a leg asks, and what is told of legs, rooms and recordings.

A leg that asks is answered with a document whatever happens, since a person is listening: where its call goes on and gives
no answer for now it asks again, a few times; then, or without such a call, the document ends politely. What is told is
answered 204 once the call has taken it in and stored it.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from attrs import frozen

from actors.live_call import events, paths
from actors.live_call.documents import AskAgain, Document, Nothing
from actors.live_call.mail import Answered
from actors.live_call.ports import LiveCall
from actors.live_call.reports import (
    AfterReport,
    AgentCall,
    IncomingCall,
    KeysReport,
    LegReport,
    RecordingReport,
    RecordingStatus,
    RecordReport,
    RoomEvent,
    RoomReport,
)
from actors.live_call.script import Script
from actors.live_call.switchboard import Switchboard
from actors.live_call.telephony import ADVISOR_LABEL, AGENT_LABEL, CALLER_LABEL, ROOM_PREFIX
from daemon.web.door import TwilioDoor, read_or_refuse, require_open, stored
from daemon.web.express import Answer, ExpressRequest, View
from daemon.web.problem import HttpError

_ONE: Final = "1"
_ASKED_MAX: Final = 5
_ASKED_INSTEAD: Final = {
    paths.MENU_CHOICE: paths.MENU,
    paths.TRANSFER_ACCEPT: paths.TRANSFER_CONNECT,
    paths.TRANSFER_DECLINED: paths.TRANSFER_CONNECT,
}
"""Where a leg asks again: keys are not sent a second time, and so they must be pressed again."""
_NEWEST: Final = 2**31 - 1
"""A report without a sequence counts as the newest."""

_HUNG_UP: Final = "participant_hung_up"
_ROOM_ENDED: Final = frozenset({"moderator_ended_conference", "conference_ended_via_api"})

Form = Mapping[str, str]


@frozen(kw_only=True)
class VoiceReaders:
    """How Twilio's forms are read; with the query where two are taken. Each raises `BadFieldError`."""

    incoming: Callable[[Form], IncomingCall]
    agent: Callable[[Form], AgentCall]
    leg: Callable[[Form, Form], LegReport]
    room: Callable[[Form, Form], RoomReport]
    keys: Callable[[Form, Form], KeysReport]
    after: Callable[[Form, Form], AfterReport]
    recording: Callable[[Form, Form], RecordingReport]
    record: Callable[[Form, Form], RecordReport]


@frozen(kw_only=True)
class VoiceRoutes:
    """What the routes work with.

    Attributes:
        takes_calls: false while the daemon drains: calls that go on are served, and no new ones are taken.
        write: a document as Twilio reads it.
        store_timeout_s: for the one transaction of a request.
    """

    door: TwilioDoor
    takes_calls: Callable[[], bool]
    switchboard: Switchboard
    script: Script
    read: VoiceReaders
    write: Callable[[Document], str]
    store_timeout_s: float

    @property
    def views(self) -> Mapping[str, View]:
        """By path; for POST alone."""
        return {
            paths.INCOMING: self.incoming,
            paths.NUMBER_STATUS: self.number_status,
            paths.AGENT: self.agent,
            paths.AGENT_STATUS: self.leg_status,
            paths.CONFERENCE: self.conference,
            paths.AFTER: self.after,
            paths.TRANSFER_CONNECT: self.advisor_answered,
            paths.TRANSFER_ACCEPT: self.advisor_pressed,
            paths.TRANSFER_DECLINED: self.advisor_declined,
            paths.TRANSFER_STATUS: self.leg_status,
            paths.MENU: self.menu,
            paths.MENU_CHOICE: self.menu_choice,
            paths.VOICEMAIL: self.voicemail,
            paths.VOICEMAIL_DONE: self.recorded,
            paths.VOICEMAIL_RECORDING: self.recording_status,
        }

    # --- the caller's leg ---

    async def incoming(self, request: ExpressRequest) -> Answer:
        """Somebody calls. Asked again for the same leg: the same document, and nobody is called twice."""
        call = read_or_refuse(self.read.incoming, await self.door.form(request))
        require_open(self.takes_calls)
        if self.switchboard.is_full and await self._found(call.call_sid) is None:
            return self._document(await self.script.end("busy"))
        answered = await stored(self.switchboard.begin(call), timeout_s=self.store_timeout_s)
        again = _again(request) if answered is None else None
        return self._document(again or await self.script.for_caller(answered))

    async def number_status(self, request: ExpressRequest) -> Answer:
        """The number's own status callback: the caller's leg is over."""
        form = await self.door.form(request)
        report = read_or_refuse(self.read.leg, form, {})
        if report.status is not None and report.status.is_over:
            live_call_id = await self._found(report.call_sid)
            if live_call_id is not None:
                await self._told(live_call_id, events.CallerLeft())
        return Answer(status=204)

    async def after(self, request: ExpressRequest) -> Answer:
        """The caller's leg is out of its room or off its stream, and asks what comes next."""
        report: AfterReport = await self._asked(request, self.read.after)
        if report.call_status is not None and report.call_status.is_over:
            if report.live_call_id is not None:
                await self._told(report.live_call_id, events.CallerLeft())
            return self._document(Nothing())
        return await self._caller(request, report.live_call_id, events.DialEnded())

    async def menu(self, request: ExpressRequest) -> Answer:
        report: AfterReport = await self._asked(request, self.read.after)
        return await self._caller(request, report.live_call_id, events.MenuReached())

    async def menu_choice(self, request: ExpressRequest) -> Answer:
        report: KeysReport = await self._asked(request, self.read.keys)
        return await self._caller(request, report.live_call_id, events.MenuChosen(report.keys))

    async def voicemail(self, request: ExpressRequest) -> Answer:
        """The caller is to leave a message. Out of order, a polite end."""
        report: AfterReport = await self._asked(request, self.read.after)
        return await self._caller(request, report.live_call_id, events.VoicemailReached())

    async def recorded(self, request: ExpressRequest) -> Answer:
        report: RecordReport = await self._asked(request, self.read.record)
        if report.recording_sid is not None:
            # The recording's own report, which says so too, may be lost.
            await self._tell(
                report.live_call_id, events.Recorded(report.recording_sid, report.duration_s or 0)
            )
        event = events.CallerLeft() if report.has_hung_up else events.RecordEnded()
        return await self._caller(request, report.live_call_id, event)

    async def recording_status(self, request: ExpressRequest) -> Answer:
        """A recording is ready, or there is none. May come when the call is long over."""
        report: RecordingReport = await self._asked(request, self.read.recording)
        if report.status is RecordingStatus.COMPLETED and report.live_call_id is not None:
            event = events.Recorded(report.recording_sid, report.duration_s or 0)
            await self._told(report.live_call_id, event)
        return Answer(status=204)

    # --- the agent's and the advisor's legs ---

    async def agent(self, request: ExpressRequest) -> Answer:
        """The TwiML App's Voice URL; in direct mode the caller's own leg comes here, with the token in the query."""
        form = await self.door.form(request)
        is_callers_leg = "token" in request.query
        call = read_or_refuse(self.read.agent, {**form, **request.query})
        return self._document(self.script.for_agent(call.token, is_callers_leg=is_callers_leg))

    async def leg_status(self, request: ExpressRequest) -> Answer:
        """A status of a leg of ours. A word that Twilio has invented since is no news."""
        report: LegReport = await self._asked(request, self.read.leg)
        if report.live_call_id is not None and report.leg is not None and report.status is not None:
            sequence = _NEWEST if report.sequence is None else report.sequence
            event = events.LegReported(report.leg, report.call_sid, report.status, sequence)
            await self._told(report.live_call_id, event)
        return Answer(status=204)

    async def advisor_answered(self, request: ExpressRequest) -> Answer:
        """Somebody or something has picked the advisor's telephone up."""
        report: AfterReport = await self._asked(request, self.read.after)
        leg = report.leg or 0
        reached = events.GateReached(leg, report.call_sid)
        return await self._advisor(request, report.live_call_id, leg, reached)

    async def advisor_pressed(self, request: ExpressRequest) -> Answer:
        """A slip of the finger costs nobody the transfer: any other key brings the question back, within its limit."""
        report: KeysReport = await self._asked(request, self.read.keys)
        leg = report.leg or 0
        is_accepted = report.keys == _ONE
        event = events.GatePassed(leg) if is_accepted else events.GateReached(leg, report.call_sid)
        return await self._advisor(request, report.live_call_id, leg, event)

    async def advisor_declined(self, request: ExpressRequest) -> Answer:
        """Nobody pressed a key."""
        report: AfterReport = await self._asked(request, self.read.after)
        leg = report.leg or 0
        return await self._advisor(request, report.live_call_id, leg, events.GateMissed(leg))

    # --- rooms ---

    async def conference(self, request: ExpressRequest) -> Answer:
        report: RoomReport = await self._asked(request, self.read.room)
        event = _event_of(report)
        if event is not None:
            live_call_id = report.live_call_id
            if live_call_id is None:
                live_call_id = await self._found(report.room.removeprefix(ROOM_PREFIX))
            if live_call_id is not None:
                await self._told(live_call_id, event)
        return Answer(status=204)

    # --- what all have in common ---

    async def _asked(self, request: ExpressRequest, read: Callable[[Form, Form], Any]) -> Any:
        return read_or_refuse(read, await self.door.form(request), request.query)

    async def _found(self, call_sid: str) -> int | None:
        return await stored(self.switchboard.store.find(call_sid), timeout_s=self.store_timeout_s)

    async def _told(self, live_call_id: int, event: events.CallEvent) -> None:
        """Taken in by its call; 503 where it cannot be, though Twilio will not tell it again.

        A call that is not there was erased meanwhile, or is another program's: there is nobody to tell.
        """
        answered = await self._tell(live_call_id, event)
        if answered is not None and not answered.is_stored:
            raise HttpError(status=503, code="store_unavailable", message="not stored; try again")
        if answered is None and await self._load(live_call_id) is not None:
            raise HttpError(status=503, code="not_taken", message="not taken in; try again")

    async def _load(self, live_call_id: int) -> LiveCall | None:
        return await stored(self.switchboard.store.load(live_call_id), timeout_s=self.store_timeout_s)

    async def _caller(
        self, request: ExpressRequest, live_call_id: int | None, event: events.CallEvent
    ) -> Answer:
        return await self._answer(request, live_call_id, event, self.script.for_caller)

    async def _advisor(
        self, request: ExpressRequest, live_call_id: int | None, leg: int, event: events.CallEvent
    ) -> Answer:
        return await self._answer(request, live_call_id, event, partial(self.script.for_advisor, leg=leg))

    async def _answer(
        self,
        request: ExpressRequest,
        live_call_id: int | None,
        event: events.CallEvent,
        script: Callable[[Answered | None], Awaitable[Document]],
    ) -> Answer:
        answered = await self._tell(live_call_id, event)
        again = await self._later(request, live_call_id) if answered is None else None
        return self._document(again or await script(answered))

    async def _later(self, request: ExpressRequest, live_call_id: int | None) -> AskAgain | None:
        """None for a call that is over, or never was. One of which nothing is known, without the database, goes on."""
        if live_call_id is None:
            return None
        try:
            call = await self._load(live_call_id)
        except HttpError:
            return _again(request)
        return None if call is None or call.state.is_over else _again(request)

    def _tell(self, live_call_id: int | None, event: events.CallEvent) -> Awaitable[Answered | None]:
        return self.switchboard.tell(live_call_id or 0, event)

    def _document(self, document: Document) -> Answer:
        return Answer(status=200, body=self.write(document).encode(), content_type="text/xml")


def _again(request: ExpressRequest) -> AskAgain | None:
    """None when it was asked often enough."""
    tried = request.query.get(paths.TRY_KEY, "0")
    tries = int(tried) if tried.isascii() and tried.isdecimal() else 0
    if tries >= _ASKED_MAX:
        return None
    path = _ASKED_INSTEAD.get(request.path, request.path)
    return AskAgain(f"{path}?{urlencode(sorted({**request.query, paths.TRY_KEY: str(tries + 1)}.items()))}")


def _event_of(report: RoomReport) -> events.CallEvent | None:
    """What a room's report means to its call; None for what is no news to it."""
    sid = report.call_sid or ""
    match report.event, report.label:
        case RoomEvent.JOIN, label if label == CALLER_LABEL:
            return events.CallerJoined()
        case RoomEvent.JOIN, label if label == ADVISOR_LABEL:
            return events.AdvisorJoined(sid)
        case RoomEvent.LEAVE, label if label == CALLER_LABEL:
            # Who was sent elsewhere has left the room too, and goes on.
            return events.CallerLeft() if report.reason_left == _HUNG_UP else None
        case RoomEvent.LEAVE, label if label == AGENT_LABEL:
            return events.AgentLeft(sid)
        case RoomEvent.LEAVE, label if label == ADVISOR_LABEL:
            return None if report.reason_left in _ROOM_ENDED else events.AdvisorLeft(sid)
        case _:
            return None
