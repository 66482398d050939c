"""Calls and rooms through Twilio: the port `actors.live_call.telephony.Telephony`."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from math import ceil
from typing import Any, Final
from urllib.parse import urlencode

import structlog
import trio
from attrs import define, field
from twilio.base.exceptions import TwilioException  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from actors.conversation.identity import whatsapp_address_candidates
from actors.live_call import paths
from actors.live_call.telephony import (
    AGENT_LABEL,
    ROOM_PREFIX,
    AdvisorDial,
    AgentDial,
    Dialled,
    DialledLeg,
    DialOutcome,
    DialUnknown,
    LegStatus,
    MadeRecording,
    NoRecording,
    NotDialled,
    OpenRoom,
    Recording,
    RedirectOutcome,
    Room,
    RoomStatus,
)
from actors.ports import VendorRefusedError, VendorUnavailableError, WallClock
from daemon.twilio.callbacks import ROOM_EVENTS, without_slash
from daemon.twilio.downloads import StrangeRedirectError, download
from daemon.twilio.problems import NO_SUCH_RESOURCE, asking, problem_of
from daemon.twilio.transport import (
    MaybeReceivedError,
    NeverLeftError,
    ThrottledError,
    Transport,
    TransportError,
)
from daemon.twilio.voice_records import (
    read_leg,
    read_leg_status,
    read_made_recording,
    read_participant,
    read_recording,
    read_room,
    verdict,
)

_log = structlog.get_logger(__name__)

# "Call is not in-progress": it is over, or was never picked up (Twilio docs: api/errors/21220).
_NOT_IN_PROGRESS: Final = 21220
_GONE_CODES: Final = frozenset({_NOT_IN_PROGRESS, NO_SUCH_RESOURCE})

_LEG_EVENTS: Final = ("initiated", "ringing", "answered", "completed")
_RING_MIN_S: Final = 5
_RING_MAX_S: Final = 600

_PAGE: Final = 100
_PAGES_MAX: Final = 5
_NAMESAKES_MAX: Final = 20
# Twilio's `date_created` has whole seconds, and its clock is not ours.
_CLOCK_SLACK: Final = timedelta(seconds=60)


class _Told(Enum):
    """What became of a command. `GONE`: there is nothing that it could change."""

    DONE = auto()
    GONE = auto()
    FAILED = auto()


_REDIRECTED: Final[Mapping[_Told, RedirectOutcome]] = {
    _Told.DONE: RedirectOutcome.DONE,
    _Told.GONE: RedirectOutcome.OVER,
    _Told.FAILED: RedirectOutcome.FAILED,
}


@define(kw_only=True)
class TwilioTelephony:
    """Dials from one number of ours.

    Attributes:
        client: over `transport`, whose time limit is that of every single request.
        number: ours, E.164; who is called sees it.
        app_sid: of the TwiML App behind which the agent is; empty where there is none, and then no agent is added.
        public_url: where Twilio reaches us.
        clock: ours, by which moments are given.
        agent_ring_s: how long Twilio waits for our own answer to the agent's call.
        look_deadline_s: for a question that takes several requests.
        hold_deadline_s: for a hold, which takes two, and without which somebody hears nothing.
        recording_deadline_s: for the whole of a recording.
    """

    client: Client
    transport: Transport
    number: str
    app_sid: str
    public_url: str = field(converter=without_slash)
    clock: WallClock
    agent_ring_s: int = 15
    look_deadline_s: float = 20.0
    hold_deadline_s: float = 5.0
    recording_deadline_s: float = 60.0

    # --- Dialling -------------------------------------------------------------------------------------

    async def add_agent(self, dial: AgentDial) -> DialOutcome:
        """Call the agent into a room; see the port.

        Its parameters travel in the address and come back as fields of the request for its document (Twilio docs:
        voice/api/conference-participant-resource, custom parameters).
        """
        if not self.app_sid:
            raise ValueError("there is no TwiML App to add an agent by")
        parameters = urlencode({"token": dial.token, paths.CALL_KEY: dial.live_call_id})
        return await self._dialled(
            lambda: self.client.conferences(dial.room).participants.create_async(
                from_=self.number,
                to=f"app:{self.app_sid}?{parameters}",
                label=AGENT_LABEL,
                timeout=self.agent_ring_s,
                time_limit=dial.time_limit_s,
                beep="false",
                # Nobody hears it ring, and nobody is left in silence by an agent that is alone.
                early_media=False,
                wait_url="",
                start_conference_on_enter=True,
                end_conference_on_exit=False,
                jitter_buffer_size="small",
                status_callback=self._url(paths.of_leg(paths.AGENT_STATUS, dial.live_call_id, dial.leg)),
                status_callback_event=list(_LEG_EVENTS),
                # Counts only where the agent is the first to come (Twilio docs: voice/twiml/conference).
                conference_status_callback=self._url(paths.of_call(paths.CONFERENCE, dial.live_call_id)),
                conference_status_callback_event=list(ROOM_EVENTS),
            ),
            sid_of=lambda participant: participant.call_sid,
        )

    async def dial_advisor(self, dial: AdvisorDial) -> DialOutcome:
        """Call an advisor; see the port."""
        return await self._dialled(
            lambda: self.client.calls.create_async(
                to=dial.number,
                from_=self.number,
                url=self._url(paths.of_leg(paths.TRANSFER_CONNECT, dial.live_call_id, dial.leg)),
                method="POST",
                timeout=min(max(ceil(dial.ring_s), _RING_MIN_S), _RING_MAX_S),
                time_limit=dial.talk_max_s,
                status_callback=self._url(paths.of_leg(paths.TRANSFER_STATUS, dial.live_call_id, dial.leg)),
                status_callback_event=list(_LEG_EVENTS),
                status_callback_method="POST",
            ),
            sid_of=lambda call: call.sid,
        )

    async def _dialled(
        self, create: Callable[[], Awaitable[Any]], *, sid_of: Callable[[Any], str | None]
    ) -> DialOutcome:
        try:
            created = await create()
        except NeverLeftError as error:
            return NotDialled(detail=str(error))
        except ThrottledError as error:
            return NotDialled(detail=str(error), retry_after_s=error.retry_after_s)
        except MaybeReceivedError as error:
            return DialUnknown(detail=str(error))
        except TwilioException as error:
            return verdict(problem_of(error))
        except json.JSONDecodeError:
            return DialUnknown(detail="unreadable answer")
        sid = sid_of(created)
        return Dialled(sid) if sid else DialUnknown(detail="answer without a SID")

    # --- Commands -------------------------------------------------------------------------------------

    async def end_leg(self, sid: str) -> bool:
        """End a leg; see the port.

        `completed` ends a leg that is queued, rings or talks, `canceled` none that was just picked up (Twilio docs:
        voice/api/call-resource, `Status`).
        """
        told = await self._told(
            "end leg", sid, lambda: self.client.calls(sid).update_async(status="completed")
        )
        return told is not _Told.FAILED

    async def limit(self, sid: str, seconds: int) -> bool:
        """Limit a leg; see the port."""
        told = await self._told(
            "limit leg", sid, lambda: self.client.calls(sid).update_async(time_limit=seconds)
        )
        return told is not _Told.FAILED

    async def redirect(self, sid: str, path: str) -> RedirectOutcome:
        """Give a leg another document; see the port."""
        url = self._url(path)
        told = await self._told(
            "redirect leg", sid, lambda: self.client.calls(sid).update_async(url=url, method="POST")
        )
        return _REDIRECTED[told]

    async def hold(self, room: str, label: str, *, on: bool, music_path: str) -> bool:
        """Put somebody on hold, or take the hold off; see the port.

        A participant is changed by the room's SID alone, which is looked up each time: the room of a name may be another
        one by now.
        """
        change: dict[str, Any] = {"hold": on}
        if on:
            change |= {"hold_url": self._url(music_path), "hold_method": "GET"}
        with trio.move_on_after(self.hold_deadline_s):
            try:
                found = await self._open_room(room)
            except (VendorUnavailableError, VendorRefusedError) as error:
                _log.warning("a room could not be found", room=room, problem=str(error))
                return False
            if found is None:
                return False
            participant = self.client.conferences(found.sid).participants(label)
            return (
                await self._told("hold", found.sid, lambda: participant.update_async(**change)) is _Told.DONE
            )
        return False

    async def end_room(self, sid: str) -> bool:
        """End a room; see the port."""
        room = self.client.conferences(sid)
        told = await self._told("end room", sid, lambda: room.update_async(status="completed"))
        return told is not _Told.FAILED

    async def delete_recording(self, sid: str) -> bool:
        """Delete a recording; see the port."""
        recording = self.client.recordings(sid)
        return await self._told("delete recording", sid, recording.delete_async) is not _Told.FAILED

    async def _told(self, what: str, sid: str, ask: Callable[[], Awaitable[Any]]) -> _Told:
        try:
            await ask()
        except TransportError as error:
            problem = str(error)
        except TwilioException as error:
            found = problem_of(error)
            if found.code in _GONE_CODES:
                return _Told.GONE
            problem = str(found)
        except json.JSONDecodeError:
            problem = "unreadable answer"
        else:
            return _Told.DONE
        _log.warning("Twilio could not be told", what=what, twilio_sid=sid, problem=problem)
        return _Told.FAILED

    # --- Questions ------------------------------------------------------------------------------------

    async def leg_status(self, sid: str) -> LegStatus | None:
        """How a leg stands; see the port."""
        with asking("the leg"):
            try:
                call = await self.client.calls(sid).fetch_async()
            except TwilioException as error:
                if problem_of(error).code == NO_SUCH_RESOURCE:
                    return None
                raise
        return read_leg_status(call.status)

    async def room(self, name: str) -> Room | None:
        """The open room of a name; see the port."""
        with asking("the room"), trio.fail_after(self.look_deadline_s):
            found = await self._open_room(name)
            if found is None:
                return None
            page = await self.client.conferences(found.sid).participants.page_async(page_size=_PAGE)
            participants = [read_participant(record) for record in page]
        return Room(sid=found.sid, name=found.name, status=found.status, participants=participants)

    async def _open_room(self, name: str) -> OpenRoom | None:
        """Asked for without a status, since a room of one is `init` and one of two `in-progress`: one request for both."""
        with asking("the rooms"):
            page = await self.client.conferences.page_async(friendly_name=name, page_size=_NAMESAKES_MAX)
            return next((room for record in page if (room := read_room(record)) and room.name == name), None)

    async def open_rooms(self, *, prefix: str = ROOM_PREFIX) -> Sequence[OpenRoom]:
        """All open rooms; see the port. At most 500 of each status are looked through."""
        found: dict[str, OpenRoom] = {}
        with asking("the rooms"), trio.fail_after(self.look_deadline_s):
            for status in RoomStatus:
                page = await self.client.conferences.page_async(status=status.value, page_size=_PAGE)
                for remaining in reversed(range(_PAGES_MAX)):
                    rooms = filter(None, map(read_room, page))
                    found |= {room.sid: room for room in rooms if room.name.startswith(prefix)}
                    page = await page.next_page_async() if remaining else None
                    if page is None:
                        break
        return list(found.values())

    async def legs_to(self, number: str, *, since: datetime) -> Sequence[DialledLeg]:
        """Legs that we dialled to a number; see the port.

        Two clocks are compared: Twilio's is read from its answer, and up to a minute before `since` is included. Every
        spelling of the number is asked for. `StartTime`, the only date that can be a filter, is empty until the telephone
        rings (Twilio OpenAPI: api_v2010). At most 500 legs per spelling are looked through.
        """
        found: dict[str, DialledLeg] = {}
        with asking("the calls"), trio.fail_after(self.look_deadline_s):
            for spelling in whatsapp_address_candidates(number) or (number,):
                found |= {leg.sid: leg for leg in await self._listed(spelling, since=since)}
        return sorted(found.values(), key=lambda leg: leg.created_at, reverse=True)

    async def _listed(self, number: str, *, since: datetime) -> list[DialledLeg]:
        """Reads page by page until nothing on one is young enough."""
        found: list[DialledLeg] = []
        page = await self.client.calls.page_async(to=number, from_=self.number, page_size=_PAGE)
        vendor_now = self.transport.vendor_now()
        undated = since + (vendor_now - self.clock.now() if vendor_now is not None else timedelta())
        for remaining in reversed(range(_PAGES_MAX)):
            legs = [read_leg(record, number, undated) for record in page]
            young = [leg for leg in legs if leg.created_at >= undated - _CLOCK_SLACK]
            found += young
            page = await page.next_page_async() if young and remaining else None
            if page is None:
                break
        return found

    async def recordings_of(self, sid: str) -> Sequence[MadeRecording]:
        """A leg's recordings; see the port. No leg is recorded more often than fits on one page."""
        with asking("the recordings"):
            page = await self.client.recordings.page_async(call_sid=sid, page_size=_PAGE)
            found = [made for record in page if (made := read_made_recording(record)) is not None]
        return found[::-1]

    async def recording(self, sid: str, *, max_bytes: int) -> Recording | NoRecording:
        """The sound of a recording, as MP3; see the port.

        Fetched below Twilio's API, whatever address a report may have named. The SDK's own requests are for text.
        """
        url = f"{self.client.api.base_url}/2010-04-01/Accounts/{self.client.account_sid}/Recordings/{sid}.mp3"
        auth = (self.client.username, self.client.password)
        with asking("the recording"):
            try:
                file = await download(
                    self.transport,
                    url,
                    auth=auth,
                    max_bytes=max_bytes,
                    deadline_s=self.recording_deadline_s,
                )
            except StrangeRedirectError as error:
                raise VendorRefusedError(f"the recording could not be read: {error}") from error
        return read_recording(file)

    def _url(self, path: str) -> str:
        return self.public_url + path
