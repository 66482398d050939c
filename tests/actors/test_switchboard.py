"""How routes reach a live call whose actor is not there to answer, and what whoever is on the line is told then."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest
import trio
from attrs import define, evolve, field

from actors.live_call import events
from actors.live_call.effects import Answer
from actors.live_call.mail import Answered, CallMessage, Happened
from actors.live_call.reports import IncomingCall
from actors.live_call.script import Script
from actors.live_call.state import Mode, Phase
from actors.live_call.switchboard import Switchboard
from actors.live_call.wording import Words
from actors.live_call.world import ActiveCalls
from daemon.settings.model import Settings
from daemon.twilio import voice_inbound
from daemon.twilio.twiml import Twiml
from daemon.web.door import FORM_TYPE, TwilioDoor
from daemon.web.express import ExpressRequest
from daemon.web.voice import VoiceReaders, VoiceRoutes
from daemon.web.voice_links import StreamTokens
from tests.calls.house import PaperVoice
from tests.memory.clock import VirtualClock
from tests.memory.database import MemoryDatabase
from tests.memory.live_calls import MemoryLiveCalls

CALLER_SID = "CA" + "1" * 32
PUBLIC = "https://relevo.example.com"

pytestmark = pytest.mark.expects_error_log
"""A call that gives no answer is an error of ours."""


@define(eq=False)
class Lines:
    """Routes in front of calls that have no actor: `posted` is what was left for one."""

    routes: VoiceRoutes
    database: MemoryDatabase
    posted: list[CallMessage] = field(factory=list)

    async def ask(self, path: str, **fields: str) -> ET.Element:
        """The document for a leg that asks."""
        view: Callable[[ExpressRequest], Awaitable[Any]] = self.routes.views[path.partition("?")[0]]
        answer = await view(request(path, {"CallSid": CALLER_SID, "CallStatus": "in-progress", **fields}))
        assert answer.status == 200
        return ET.fromstring(answer.body)


def request(path: str, form: Mapping[str, str]) -> ExpressRequest:
    body = urlencode({"AccountSid": "AC1", **form}).encode()
    route, _, query = path.partition("?")
    headers = [(b"content-type", FORM_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    scope = {"path": route, "raw_path": route.encode(), "query_string": query.encode(), "headers": headers}

    async def receive() -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": body}

    return ExpressRequest(scope, receive)


def switchboard(database: MemoryDatabase, post: Callable[[int, CallMessage], bool]) -> Switchboard:
    return Switchboard(
        store=MemoryLiveCalls(database),
        post=post,
        tokens=StreamTokens(b"key"),
        clock=VirtualClock(),
        mode=Mode.CONFERENCE,
        active=ActiveCalls(),
        calls_max=10,
    )


@pytest.fixture
async def lines(autojump_clock: object) -> Lines:
    """One call, of id 1, that talks with its agent."""
    database = MemoryDatabase()
    posted: list[CallMessage] = []

    def post(_: int, message: CallMessage) -> bool:
        posted.append(message)
        return True

    calls = switchboard(database, post)
    incoming = IncomingCall(call_sid=CALLER_SID, caller=None, dialled=None)
    begun = await calls.store.begin(incoming, mode=Mode.CONFERENCE, now=calls.clock.now())
    await calls.store.save(begun.id, evolve(begun.state, phase=Phase.WITH_AGENT), now=calls.clock.now())
    routes = VoiceRoutes(
        door=TwilioDoor(
            account_sid="AC1",
            max_body_bytes=10_000,
            is_signed=lambda *_: True,
            is_open=lambda: True,
        ),
        takes_calls=lambda: True,
        switchboard=calls,
        script=Script(
            words=Words(Settings().word_sources),
            voice=PaperVoice(lambda: 0.0),
            tokens=calls.tokens,
            audio_url=f"{PUBLIC}/voice/audio",
            own_music_url=lambda: f"{PUBLIC}/voice/audio/hold-music.wav",
            lost_music_url=None,
            call_max_s=60,
            advisor_talk_max_s=60,
            recording_max_s=60,
        ),
        read=VoiceReaders(
            incoming=voice_inbound.read_incoming_call,
            agent=voice_inbound.read_agent_call,
            leg=voice_inbound.read_leg_report,
            room=voice_inbound.read_room_report,
            keys=voice_inbound.read_keys,
            after=voice_inbound.read_after,
            recording=voice_inbound.read_recording_report,
            record=voice_inbound.read_record_report,
        ),
        write=Twiml(public_url=PUBLIC).write,
        store_timeout_s=10.0,
    )
    return Lines(routes, database, posted)


async def test_an_actor_that_crashes_of_a_question_is_asked_once_more(autojump_clock: object) -> None:
    asked: list[Happened] = []
    database = MemoryDatabase()

    def post(_: int, message: CallMessage) -> bool:
        assert isinstance(message, Happened)
        asked.append(message)
        if len(asked) == 1:
            message.reply.abandon()
        else:
            message.reply.give(Answered(Answer.ROOM, call))
        return True

    calls = switchboard(database, post)
    incoming = IncomingCall(call_sid=CALLER_SID, caller=None, dialled=None)
    call = await calls.store.begin(incoming, mode=Mode.CONFERENCE, now=calls.clock.now())
    answered = await calls.tell(call.id, events.DialEnded())
    assert answered is not None
    assert answered.answer is Answer.ROOM
    assert [message.event for message in asked] == [events.DialEnded()] * 2


async def test_what_nobody_waits_for_any_more_takes_no_answer(autojump_clock: object, lines: Lines) -> None:
    assert await lines.routes.switchboard.tell(1, events.DialEnded()) is None
    [message] = lines.posted
    assert isinstance(message, Happened)
    assert message.reply.is_settled


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/voice/after?c=1", "/voice/after?c=1&t=1"),
        ("/voice/after?c=1&t=4", "/voice/after?c=1&t=5"),
        ("/voice/menu/choice?c=1", "/voice/menu?c=1&t=1"),
        ("/voice/transfer/connect?c=1&l=2", "/voice/transfer/connect?c=1&l=2&t=1"),
        ("/voice/transfer/accept?c=1&l=2", "/voice/transfer/connect?c=1&l=2&t=1"),
        ("/voice/incoming", "/voice/incoming?t=1"),
    ],
)
async def test_whose_call_goes_on_and_gives_no_answer_asks_again(
    autojump_clock: object, lines: Lines, path: str, asked: str
) -> None:
    document = await lines.ask(path, Digits="1", From="+525512345678", To="+525550000000")
    assert [verb.tag for verb in document] == ["Pause", "Redirect"]
    assert document[1].text == PUBLIC + asked


async def test_who_asked_often_enough_is_let_go_politely(autojump_clock: object, lines: Lines) -> None:
    document = await lines.ask("/voice/after?c=1&t=5")
    assert [verb.tag for verb in document] == ["Play", "Hangup"]


async def test_a_call_of_which_nothing_is_known_goes_on(autojump_clock: object, lines: Lines) -> None:
    lines.database.unavailable = True
    assert [verb.tag for verb in await lines.ask("/voice/after?c=1")] == ["Pause", "Redirect"]


@pytest.mark.parametrize("path", ["/voice/after?c=7", "/voice/after"])
async def test_without_such_a_call_nobody_asks_again(autojump_clock: object, lines: Lines, path: str) -> None:
    assert [verb.tag for verb in await lines.ask(path)] == ["Play", "Hangup"]


async def test_a_call_that_is_over_is_not_asked_again(autojump_clock: object, lines: Lines) -> None:
    row = lines.database.live_calls[1]
    row.state = evolve(row.state, phase=Phase.ENDED)
    assert [verb.tag for verb in await lines.ask("/voice/after?c=1")] == ["Play", "Hangup"]
