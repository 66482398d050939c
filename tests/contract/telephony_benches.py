"""What the suite of the port `Telephony` runs over: the adapter on the simulated Twilio, and the fake in memory."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, Protocol
from urllib.parse import urlsplit

import trio
from attrs import frozen

from actors.live_call import paths
from actors.live_call.documents import CallerRoom, Document, HoldMusic, Prompt, SpokenEnd
from actors.live_call.telephony import (
    CALLER_LABEL,
    AdvisorDial,
    AgentDial,
    DialRefused,
    MadeRecording,
    NotDialled,
    Recording,
    Telephony,
    room_name,
)
from daemon.clock import SystemClock
from daemon.lab.twilio.voice.mulaw import tone, wav
from daemon.lab.twilio.voice.recorder import Recording as LabRecording
from daemon.lab.twilio.voice.script import Answers, Script
from daemon.twilio.telephony import TwilioTelephony
from daemon.twilio.transport import Limits, open_transport, sdk_client
from daemon.twilio.twiml import Twiml
from tests.contract.lab_twilio import ACCOUNT_SID, AUTH_TOKEN, LIMIT_S
from tests.contract.lab_twilio_voice import ADVISOR, APP, OURS, VoiceBench, on_sockets
from tests.memory.clock import VirtualClock
from tests.memory.exchange import MemoryExchange
from tests.memory.messaging import Lost
from tests.memory.telephony import MemoryTelephony

REFUSAL: Final = 21211
CALL_ID: Final = 7
SOMEBODYS_LEG: Final = "CA" + "0" * 32
TOKEN: Final = "un-token+/="
ADVISOR_DIAL: Final = AdvisorDial(live_call_id=CALL_ID, leg=2, number=ADVISOR, ring_s=25.0, talk_max_s=3600)


def agent_dial(room: str, leg: int = 1) -> AgentDial:
    return AgentDial(live_call_id=CALL_ID, leg=leg, room=room, token=TOKEN, time_limit_s=3600)


class Bench(Protocol):
    """An implementation of the port and the Twilio behind it. Whoever is called answers when `picked_up` is awaited."""

    @property
    def port(self) -> Telephony: ...

    def now(self) -> datetime: ...

    def pass_time(self, seconds: float) -> None: ...

    async def caller_in_room(self) -> tuple[str, str]:
        """Somebody calls and waits in their room: the leg's SID and the room's name."""
        ...

    async def picked_up(self, sid: str) -> None:
        """The leg's telephone is answered; an agent is then in its room."""
        ...

    def lets_it_ring(self) -> None:
        """The advisor does not answer."""
        ...

    async def hang_up(self, sid: str) -> None: ...

    def record(self, of: str = SOMEBODYS_LEG) -> str:
        """A leg is recorded for two seconds; the recording's SID."""
        ...

    def refuse_next(self) -> None:
        """The next dial of an advisor, with the code `REFUSAL`."""
        ...

    def throttle_next(self) -> None: ...

    def lose_next_request(self) -> None: ...

    def lose_next_answer(self) -> None: ...

    def fail_next(self, method: str) -> None:
        """Nothing can be done or learned by this method of the port, once."""
        ...


# --- The adapter on the lab ---------------------------------------------------------------------------

OPERATIONS: Final[Mapping[str, str]] = {
    "dial_advisor": "call.create",
    "end_leg": "call.update",
    "limit": "call.update",
    "redirect": "call.update",
    "hold": "participant.update",
    "leg_status": "call.fetch",
    "room": "conference.list",
    "end_room": "conference.update",
    "legs_to": "call.list",
    "open_rooms": "conference.list",
    "recordings_of": "recording.list",
    "recording": "recording.media",
    "delete_recording": "recording.delete",
}
"""The request of the lab's that each method makes, or makes first."""


def in_document(twiml: str) -> str:
    """What an office answers: the office puts the `<Response>` around it."""
    inside = twiml.partition("<Response>")[2]
    return inside.removesuffix("</Response>")


def file_documents(bench: VoiceBench, documents: Mapping[str, Document]) -> None:
    """Have the office answer with these documents, by path."""
    twiml = Twiml(public_url=bench.office.url)
    for path, document in documents.items():
        bench.office.documents[path] = in_document(twiml.write(document))


def open_office(bench: VoiceBench) -> None:
    """An office that does the usual."""
    bench.office.documents["/music.wav"] = wav(tone(440, 1.0))
    bench.office.documents["/incoming"] = lambda form: in_document(
        Twiml(public_url=bench.office.url).write(
            CallerRoom(live_call_id=CALL_ID, room=room_name(form["CallSid"]), time_limit_s=3600)
        )
    )
    # A pause would not pick up.
    bench.office.documents["/agent"] = "<Say loop='0'>Soy el agente</Say>"
    bench.office.documents[paths.TRANSFER_CONNECT] = "<Pause length='600'/>"
    end = SpokenEnd(prompts=[Prompt("Hasta luego")])
    file_documents(bench, {paths.HOLD_MUSIC: HoldMusic(f"{bench.office.url}/music.wav"), "/end": end})


@asynccontextmanager
async def telephony_on(
    bench: VoiceBench, *, auth_token: str = AUTH_TOKEN, app_sid: str = APP.sid, deadline_s: float = 5.0
) -> AsyncIterator[TwilioTelephony]:
    async with open_transport(Limits(deadline_s=deadline_s)) as transport:
        url = str(bench.http.base_url).rstrip("/")
        yield TwilioTelephony(
            client=sdk_client(transport, account_sid=ACCOUNT_SID, auth_token=auth_token, base_url=url),
            transport=transport,
            number=OURS,
            app_sid=app_sid,
            public_url=bench.office.url,
            clock=SystemClock(),
        )


@frozen
class LabBench:
    twilio: VoiceBench
    port: Telephony

    def now(self) -> datetime:
        return self.twilio.lab.clock.now()

    def pass_time(self, seconds: float) -> None:
        self.twilio.lab.advance(seconds)

    async def caller_in_room(self) -> tuple[str, str]:
        leg = self.twilio.call_in()
        await self.twilio.until("joined", leg)
        return leg.sid, room_name(leg.sid)

    async def picked_up(self, sid: str) -> None:
        leg = self.twilio.lab.voice.leg(sid)
        await leg.answered.wait()
        if leg.member is not None:
            await self.twilio.until("joined", leg)

    def lets_it_ring(self) -> None:
        self.twilio.lab.voice.script(ADVISOR, Script(answers=Answers.SILENT))

    async def hang_up(self, sid: str) -> None:
        leg = self.twilio.lab.voice.leg(sid)
        self.twilio.lab.voice.hang_up(sid)
        await leg.ended.wait()

    def record(self, of: str = SOMEBODYS_LEG) -> str:
        recorder = self.twilio.lab.voice.recorder
        recording = LabRecording(
            call_sid=of,
            started_at=self.now(),
            created_at=self.now(),
            audio=tone(440, 2.0),
            ordinal=len(recorder.recordings),
            ready_s=0.0,
        )
        recorder.recordings[recording.sid] = recording
        return recording.sid

    def refuse_next(self) -> None:
        self.twilio.fault("rest_refused", on="call.create", code=REFUSAL)

    def throttle_next(self) -> None:
        self.twilio.fault("rest_429", on="call.create", retry_after_s=3)

    def lose_next_request(self) -> None:
        self.twilio.fault("rest_drop_before", on="call.create")

    def lose_next_answer(self) -> None:
        self.twilio.fault("rest_timeout_after", on="call.create", seconds=0)

    def fail_next(self, method: str) -> None:
        self.twilio.fault("rest_500_before", on=OPERATIONS[method])


@asynccontextmanager
async def adapter_on_the_lab() -> AsyncIterator[Bench]:
    async with on_sockets({}) as twilio, telephony_on(twilio) as port:
        twilio.lab.voice.script(ADVISOR, Script(answer_after_s=0.05))
        open_office(twilio)
        yield LabBench(twilio, port)


# --- The fake in memory -------------------------------------------------------------------------------


@frozen
class MemoryBench:
    clock: VirtualClock
    exchange: MemoryExchange
    port: MemoryTelephony

    def now(self) -> datetime:
        return self.clock.now()

    def pass_time(self, seconds: float) -> None:
        self.clock.ahead += timedelta(seconds=seconds)

    async def caller_in_room(self) -> tuple[str, str]:
        call = self.exchange.call_in()
        room = room_name(call.call_sid)
        self.exchange.enter(room, call.call_sid, CALLER_LABEL, live_call_id=CALL_ID)
        return call.call_sid, room

    async def picked_up(self, sid: str) -> None:
        self.exchange.pick_up(sid)

    def lets_it_ring(self) -> None:
        """Nobody answers unless the test says so."""

    async def hang_up(self, sid: str) -> None:
        self.exchange.end(sid)

    def record(self, of: str = SOMEBODYS_LEG) -> str:
        sid = f"RE{len(self.port.recordings):032x}"
        self.port.recordings[sid] = Recording(audio=b"x" * 20_000, content_type="audio/mpeg")
        self.port.made.setdefault(of, []).append(MadeRecording(sid=sid, duration_s=2))
        return sid

    def refuse_next(self) -> None:
        self.port.dial_scripts.append(DialRefused(code=REFUSAL, detail="invalid number"))

    def throttle_next(self) -> None:
        self.port.dial_scripts.append(NotDialled(detail="too many requests", retry_after_s=3.0))

    def lose_next_request(self) -> None:
        self.port.dial_scripts.append(Lost.BEFORE_IT_ARRIVED)

    def lose_next_answer(self) -> None:
        self.port.dial_scripts.append(Lost.AFTER_IT_WAS_ACCEPTED)

    def fail_next(self, method: str) -> None:
        self.port.fail(method)


@asynccontextmanager
async def fake_in_memory() -> AsyncIterator[Bench]:
    clock = VirtualClock()
    exchange = MemoryExchange(clock)
    with trio.fail_after(LIMIT_S):
        yield MemoryBench(clock, exchange, MemoryTelephony(exchange))


def path_of(url: str) -> str:
    """A URL's path with its query."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
