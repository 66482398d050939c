"""The hands of a live call: what its steps ask for, carried out at Twilio.

Everything here runs in tasks of the call's own and never holds its mailbox up. What comes of it goes back there as an
event. Ending a leg is tried until Twilio was told; the caller's leg and its hold are brought to what is wanted last.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias, assert_never
from urllib.parse import urlencode

import structlog
import trio
from attrs import define, field

from actors.live_call import effects as do
from actors.live_call import events, paths
from actors.live_call.effects import Place
from actors.live_call.ports import LiveCall
from actors.live_call.state import Leg, LegStage, Role
from actors.live_call.telephony import (
    AGENT_LABEL,
    CALLER_LABEL,
    LABEL_TAKEN_CODE,
    AdvisorDial,
    AgentDial,
    Dialled,
    DialOutcome,
    DialRefused,
    LegStatus,
    NotDialled,
    RedirectOutcome,
    room_name,
)
from actors.live_call.world import LiveCallRules, LiveCallWorld
from actors.ports import VendorRefusedError, VendorUnavailableError
from actors.runtime.backoff import doubling_s

_log = structlog.get_logger(__name__)

RETRY_FIRST_S = 0.3
RETRY_MAX_S = 5.0
TRIES_MAX = 12
"""At a leg that is to be ended: a minute. Then the legs' own limits at Twilio and the sweeper are left."""
SEND_TRIES_MAX = 12
"""At a caller who is to be sent elsewhere: 49 s, longer than a leg off its stream waits until it asks by itself."""
DIAL_TRIES_MAX = 2
LIMIT_TRIES_MAX = 4  # at a second fence: the call's own limit is the first
LABEL_TRIES_MAX = 4
FIND_AFTER_S = (1.0, 3.0, 6.0, 12.0)
"""When a leg of unknown fate is looked for: a new one may be listed some seconds later only."""
TAKE_UP_S = 3.0
"""A call that is taken up does nothing before Twilio was asked about it, and its caller hears nothing."""

CLOCK_SLACK = timedelta(seconds=5)
"""By which our clock and Twilio's may differ. Nobody else has dialled the advisor in that time: it was engaged."""

_PLACES = {
    # The room's document is the answer to the question what comes next.
    Place.ROOM: paths.AFTER,
    Place.MENU: paths.MENU,
    Place.VOICEMAIL: paths.VOICEMAIL,
}


HandEffect: TypeAlias = (
    do.DialAgent
    | do.DialAdvisor
    | do.FindLeg
    | do.EndLeg
    | do.LimitCaller
    | do.HoldCaller
    | do.SendCaller
    | do.EndCaller
    | do.LookAtRoom
    | do.LookAtCaller
)
Work: TypeAlias = Callable[[], Awaitable[Any]]


@define(eq=False, kw_only=True)
class Hands:
    """What a call works with outside of its stream; `post` takes an event for its mailbox.

    Attributes:
        call: as it stands; the actor keeps it current.
        busy: how much is under way.
    """

    call: LiveCall
    world: LiveCallWorld
    rules: LiveCallRules
    nursery: trio.Nursery
    post: Callable[[events.CallEvent], None]
    busy: int = field(default=0, init=False)
    _hold: bool | None = field(default=None, init=False)
    _is_holding: bool = field(default=False, init=False)
    _destination: tuple[Place, int] | None = field(default=None, init=False)
    _is_sending: bool = field(default=False, init=False)
    _dialled_at: dict[int, datetime] = field(factory=dict, init=False)

    def start(self, work: Work, name: str) -> None:
        """Do something beside what else there is to do."""
        self.busy += 1
        self.nursery.start_soon(self._work, work, name=f"{name} of call {self.call.id}")

    async def _work(self, work: Work) -> None:
        try:
            await work()
        finally:
            self.busy -= 1

    @property
    def room(self) -> str:
        return room_name(self.call.call_sid)

    def carry_out(self, effect: HandEffect) -> None:
        """Begin what a step asked for."""
        match effect:
            case do.DialAgent(leg):
                self.start(partial(self.dial_agent, leg), "agent's dial")
            case do.DialAdvisor(leg, advisor):
                self.start(partial(self.dial_advisor, leg, advisor), "advisor's dial")
            case do.FindLeg(leg):
                self.start(partial(self.find_leg, leg), "search for a leg")
            case do.EndLeg(sid):
                self.start(partial(self.end_leg, sid), "end of a leg")
            case do.LimitCaller(after_s):
                limit = partial(self.world.telephony.limit, self.call.call_sid, round(after_s))
                self.start(partial(self._insist, limit, tries=LIMIT_TRIES_MAX), "limit of the caller")
            case do.HoldCaller(on):
                self.hold(on=on)
            case do.SendCaller(place, leg):
                self.send_caller(place, leg)
            case do.EndCaller():
                self.start(self.end_caller, "end of the caller")
            case do.LookAtRoom(leg):
                self.start(partial(self.look_at_room, leg), "look at the room")
            case do.LookAtCaller():
                self.start(self.check_caller, "look at the caller")
            case _ as never:
                assert_never(never)

    # --- legs ---

    async def dial_agent(self, leg: int) -> None:
        dial = AgentDial(
            live_call_id=self.call.id,
            leg=leg,
            room=self.room,
            token=self.world.tokens.token_of(self.call.id, leg),
            time_limit_s=round(self.rules.steps.call_max_s),
        )
        outcome: DialOutcome = NotDialled(detail="not wanted any more")
        for attempt in range(LABEL_TRIES_MAX):
            outcome = await self._dial(partial(self.world.telephony.add_agent, dial), leg)
            if not isinstance(outcome, DialRefused) or outcome.code != LABEL_TAKEN_CODE:
                break
            sid = await self._clear_label()
            if sid is not None:
                outcome = Dialled(sid)
                break
            await trio.sleep(doubling_s(RETRY_FIRST_S, attempt, max_s=RETRY_MAX_S))
        self._tell_of(outcome, leg)
        self.post(events.LegAnswered(leg, outcome))

    async def _clear_label(self) -> str | None:
        """Another agent is in the room. One that nobody wants any more is ended, since it may go on without its stream
        for long; one that nobody knows is what came of a dial whose answer was lost.
        """
        try:
            room = await self.world.telephony.room(self.room)
        except (VendorUnavailableError, VendorRefusedError):
            return None
        other = room.labelled(AGENT_LABEL) if room is not None else None
        if other is None:
            return None
        known = self.call.state.leg_of(other.call_sid)
        if known is None:
            return other.call_sid
        if not known.is_live:
            await self.world.telephony.end_leg(other.call_sid)
        return None

    async def dial_advisor(self, leg: int, name: str) -> None:
        advisor = self.world.advisors.named(name)
        if advisor is None:
            self.post(events.LegAnswered(leg, NotDialled(detail="no such advisor")))
            return
        dial = AdvisorDial(
            live_call_id=self.call.id,
            leg=leg,
            number=advisor.phone,
            ring_s=self.rules.steps.ring_s,
            talk_max_s=self.rules.advisor_talk_max_s,
        )
        outcome = await self._dial(partial(self.world.telephony.dial_advisor, dial), leg)
        self._tell_of(outcome, leg)
        self.post(events.LegAnswered(leg, outcome))

    async def _dial(self, dial: Work, leg: int) -> DialOutcome:
        """Tried again where surely nothing happened, and only while the leg is wanted."""
        outcome: DialOutcome = NotDialled(detail="not wanted any more")
        self._dialled_at[leg] = self.world.clock.now()
        for attempt in range(DIAL_TRIES_MAX):
            wanted = self.call.state.leg(leg)
            if wanted is None or not wanted.is_live:
                break
            outcome = await dial()
            if not isinstance(outcome, NotDialled):
                break
            pause_s = outcome.retry_after_s or doubling_s(RETRY_FIRST_S, attempt, max_s=RETRY_MAX_S)
            await trio.sleep(min(pause_s, RETRY_MAX_S))
        return outcome

    def _tell_of(self, outcome: DialOutcome, leg: int) -> None:
        _log.info("leg dialled", live_call_id=self.call.id, leg=leg, outcome=type(outcome).__name__)
        if isinstance(outcome, DialRefused) and outcome.code != LABEL_TAKEN_CODE:
            key = f"dial_refused_{outcome.code}"
            self.world.alerts.raise_alert(key, f"Twilio places no call ({outcome.code}): {outcome.detail}")

    async def find_leg(self, ordinal: int) -> None:
        """Look for a leg whose dial had no usable answer, until it is found, or is sure not to exist."""
        for pause_s in FIND_AFTER_S:
            await trio.sleep(pause_s)
            leg = self.call.state.leg(ordinal)
            if leg is None or leg.sid is not None or leg.is_over:
                return
            try:
                sid = await self._sid_of(leg)
            except (VendorUnavailableError, VendorRefusedError):
                continue
            if sid is not None:
                self.post(events.LegAnswered(ordinal, Dialled(sid)))
                return
        self.post(events.LegAnswered(ordinal, NotDialled(detail="Twilio knows no such leg")))

    async def check_advisor(self) -> None:
        """Whether an advisor who talks with the caller is still there: the news of his going may be lost."""
        leg = self.call.state.advisor
        if leg is None or leg.sid is None or not leg.reached(LegStage.IN_ROOM):
            return
        try:
            status = await self._status(leg.sid)
        except (VendorUnavailableError, VendorRefusedError):
            return
        if status.is_over:
            self.post(events.LegReported(leg.ordinal, leg.sid, status, leg.sequence + 1))

    async def _sid_of(self, leg: Leg) -> str | None:
        known = {other.sid for other in self.call.state.legs}
        if leg.role is Role.AGENT:
            room = await self.world.telephony.room(self.room)
            agent = room.labelled(AGENT_LABEL) if room is not None else None
            return agent.call_sid if agent is not None and agent.call_sid not in known else None
        advisor = self.world.advisors.named(leg.advisor)
        if advisor is None:
            return None
        since = self._dialled_at.get(leg.ordinal, self.call.started_at) - CLOCK_SLACK
        legs = await self.world.telephony.legs_to(advisor.phone, since=since)
        return next(
            (found.sid for found in legs if found.sid not in known and not found.status.is_over), None
        )

    async def end_leg(self, sid: str) -> None:
        if not await self._insist(lambda: self.world.telephony.end_leg(sid), tries=TRIES_MAX):
            _log.error("a leg could not be ended", live_call_id=self.call.id, call_sid=sid)

    async def _insist(self, tell: Callable[[], Awaitable[bool]], *, tries: int) -> bool:
        """Tell Twilio until it was told; false after so many tries in vain."""
        for attempt in range(tries):
            if await tell():
                return True
            await trio.sleep(doubling_s(RETRY_FIRST_S, attempt, max_s=RETRY_MAX_S))
        return False

    async def look_at_room(self, leg: int) -> None:
        """Tell who is in the room. While Twilio cannot be asked, nobody is taken for gone."""
        for attempt in range(TRIES_MAX):
            try:
                sids = await self._sids_in_room()
            except (VendorUnavailableError, VendorRefusedError):
                await trio.sleep(doubling_s(RETRY_FIRST_S, attempt, max_s=RETRY_MAX_S))
            else:
                self.post(events.RoomSeen(leg, sids))
                return
        self.post(events.RoomSeen(leg, None))

    # --- the caller ---

    def hold(self, *, on: bool) -> None:
        self._hold = on
        if not self._is_holding:
            self._is_holding = True
            self.start(self._keep_hold, "hold")

    async def _keep_hold(self) -> None:
        """Bring the hold to what is wanted last, for a minute: a caller who stays on hold hears music and nobody."""
        attempt = 0
        try:
            while (wanted := self._hold) is not None and attempt < TRIES_MAX:
                is_done = await self.world.telephony.hold(
                    self.room, CALLER_LABEL, on=wanted, music_path=paths.HOLD_MUSIC
                )
                if self._hold is not wanted:
                    attempt = 0
                elif is_done:
                    self._hold = None
                else:
                    await trio.sleep(doubling_s(RETRY_FIRST_S, attempt, max_s=RETRY_MAX_S))
                    attempt += 1
        finally:
            self._hold = None
            self._is_holding = False

    def let_go(self) -> None:
        """The caller is gone: nothing more is wanted of its leg."""
        self._hold = self._destination = None

    def send_caller(self, place: Place, leg: int) -> None:
        self._hold = None
        self._destination = (place, leg)
        if not self._is_sending:
            self._is_sending = True
            self.start(self._keep_sending, "new document")

    async def _keep_sending(self) -> None:
        """Bring the caller's leg to the place that is wanted last."""
        tries = 0
        try:
            while (destination := self._destination) is not None:
                outcome = await self.world.telephony.redirect(self.call.call_sid, self._path(*destination))
                if outcome is RedirectOutcome.FAILED:
                    tries += 1
                    if tries >= SEND_TRIES_MAX:
                        self._destination = None
                        self.post(events.SendFailed())
                    else:
                        await trio.sleep(doubling_s(RETRY_FIRST_S, tries, max_s=RETRY_MAX_S))
                    continue
                if outcome is RedirectOutcome.OVER:
                    await self.check_caller()
                if self._destination is destination:
                    self._destination = None
        finally:
            self._is_sending = False

    def _path(self, place: Place, leg: int) -> str:
        if place is Place.STREAM:
            return f"{paths.AGENT}?{urlencode({'token': self.world.tokens.token_of(self.call.id, leg)})}"
        return paths.of_call(_PLACES[place], self.call.id)

    async def end_caller(self) -> None:
        await self.end_leg(self.call.call_sid)
        await self.check_caller()

    async def check_caller(self) -> None:
        """Whether the caller is still there, by Twilio's word; the call learns of it when not."""
        try:
            status = await self._status(self.call.call_sid)
        except (VendorUnavailableError, VendorRefusedError):
            return
        if status.is_over:
            self.post(events.CallerLeft())

    # --- after a restart ---

    async def ask_all(self, *, has_stream: bool, has_agent: bool) -> events.Resumed:
        """How things stand at Twilio, as far as that is known within `TAKE_UP_S`."""
        advisor = self.call.state.advisor
        answers: dict[str, Any] = {}

        async def ask(name: str, question: Work) -> None:
            try:
                answers[name] = await question()
            except (VendorUnavailableError, VendorRefusedError) as problem:
                _log.warning("a call cannot be looked at", live_call_id=self.call.id, detail=str(problem))

        with trio.move_on_after(TAKE_UP_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "caller", partial(self._status, self.call.call_sid))
                nursery.start_soon(ask, "room_sids", self._sids_in_room)
                if advisor is not None and advisor.sid is not None:
                    nursery.start_soon(ask, "advisor", partial(self._status, advisor.sid))
        return events.Resumed(
            caller=answers.get("caller"),
            room_sids=answers.get("room_sids"),
            advisor=answers.get("advisor"),
            has_stream=has_stream,
            has_agent=has_agent,
        )

    async def _sids_in_room(self) -> frozenset[str]:
        room = await self.world.telephony.room(self.room)
        return frozenset(one.call_sid for one in room.participants) if room is not None else frozenset()

    async def _status(self, sid: str) -> LegStatus:
        """A leg that Twilio does not know is over."""
        return await self.world.telephony.leg_status(sid) or LegStatus.COMPLETED
