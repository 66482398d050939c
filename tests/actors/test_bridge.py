"""The bridge of a call in virtual time: a stream on one side, the agent on the other, both in memory."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import trio
from attrs import define, evolve, field
from structlog.testing import capture_logs
from trio.testing import MockClock
from typing_extensions import override

from actors.agent_events import (
    AgentAudio,
    AgentEvent,
    AgentInterrupted,
    AgentReplied,
    PersonSaid,
    SessionEnd,
    SessionPlan,
    ToolCalled,
)
from actors.live_call.line import (
    AgentSpoke,
    Heard,
    KeyPressed,
    LineClosed,
    LineEnd,
    LineEvent,
    LineOpened,
    SessionBegan,
    SessionEnded,
    ToolAsked,
)
from actors.live_call.mixing import RATE_HZ, BedRules, MusicBed
from daemon.voice.bridge import Bridge, BridgeRules
from daemon.voice.frames import Started
from tests.memory.agent import LOST, MemoryAgent, MemorySession, Start, does
from tests.memory.line_events import LineEvents

PLAN = SessionPlan(agent_id="agent_1", user_id="person-7", speaks=True)
STARTED = Started(stream_sid="MZ1", call_sid="CA1", parameters={"token": "t"})
FRAME = 160


def a_bed() -> MusicBed:
    rules = BedRules(level=1.0, ducked_level=0.5, fade_s=0.4, duck_s=0.1, release_s=0.1)
    return MusicBed(np.full(400, 4_000, np.int16), rules)


@define(eq=False)
class Stream:
    """The stream's socket, and Twilio behind it.

    Attributes:
        sent: what we sent, with the moment.
        returns_marks: at once, as if nothing had to be played first.
        is_stuck: takes nothing.
    """

    returns_marks: bool = False
    is_stuck: bool = False
    sent: list[tuple[float, dict[str, Any]]] = field(factory=list)
    codes: list[int] = field(factory=list)
    news: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    _in: trio.MemorySendChannel[str] = field(init=False)
    _out: trio.MemoryReceiveChannel[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._in, self._out = trio.open_memory_channel[str](10_000)

    async def receive(self) -> str | None:
        try:
            # As a WebSocket: what is there already is given without letting others run.
            return self._out.receive_nowait()
        except trio.WouldBlock:
            pass
        except trio.EndOfChannel:
            return None
        try:
            return await self._out.receive()
        except trio.EndOfChannel:
            return None

    async def send(self, text: str) -> None:
        await self._be_taken()
        frame = json.loads(text)
        assert frame["streamSid"] == "MZ1"
        self.sent.append((trio.current_time(), frame))
        if frame["event"] == "mark" and self.returns_marks:
            self.tell("mark", {"name": frame["mark"]["name"]})
        self.news.unpark_all()

    async def _be_taken(self) -> None:
        if self.is_stuck:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    async def close(self, code: int) -> None:
        await self._be_taken()
        self.codes.append(code)
        self._in.close()

    def tell(self, event: str, body: object = None) -> None:
        self._in.send_nowait(json.dumps({"event": event, event: body, "streamSid": "MZ1"}))

    def speak(self, audio: bytes) -> None:
        self.tell("media", {"track": "inbound", "payload": b64encode(audio).decode()})

    def drop(self) -> None:
        self._in.close()

    def all(self, event: str) -> list[dict[str, Any]]:
        return [frame for _, frame in self.sent if frame["event"] == event]

    @property
    def audio(self) -> bytes:
        return b"".join(b64decode(frame["media"]["payload"]) for frame in self.all("media"))

    @property
    def events(self) -> list[str]:
        return [frame["event"] for _, frame in self.sent]


@define(eq=False)
class Call(LineEvents):
    stream: Stream
    agent: MemoryAgent
    bridge: Bridge
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    ended: trio.Event = field(factory=trio.Event)

    async def run(self) -> None:
        with self.scope:
            await self.bridge.run(self.report, token="t")
        self.ended.set()

    async def until_sent(self, is_there: Callable[[], object]) -> None:
        while not is_there():
            await self.stream.news.park()

    async def begun(self, plan: SessionPlan = PLAN) -> MemorySession:
        """Open a session and wait until it has begun."""
        count = len(self.told(SessionBegan))
        self.bridge.open_agent(plan)
        await self.until(SessionBegan, count + 1)
        return self.agent.sessions[-1]

    async def says(self, session: MemorySession, *events: AgentEvent | SessionEnd) -> None:
        """Let the agent do something; returns when it has been taken."""
        session.unasked(*events)
        await trio.sleep(0.001)


@asynccontextmanager
async def calling(
    *, agent: MemoryAgent | None = None, stream: Stream | None = None, **rules: Any
) -> AsyncIterator[Call]:
    stream, agent = stream or Stream(), agent or MemoryAgent(usual_reaction=does())
    bridge = Bridge(
        socket=stream, started=STARTED, sessions=agent, make_bed=a_bed, rules=evolve(BridgeRules(), **rules)
    )
    call = Call(stream, agent, bridge)
    with trio.fail_after(3_600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.run)
            await call.until(LineOpened)
            yield call
            call.scope.cancel(reason="the test is over")


def voice(number: int, length: int = FRAME) -> bytes:
    return bytes([number]) * length


def audio(number: int, event_id: int | None = None, length: int = FRAME) -> AgentAudio:
    return AgentAudio(payload=voice(number, length), event_id=number if event_id is None else event_id)


# --- From the caller to the agent -----------------------------------------------------------------------


async def test_the_line_opens_and_the_session_begins(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()

    assert call.events == [
        LineOpened(line=call.bridge, token="t", call_sid="CA1"),
        SessionBegan(session.conversation_id),
        LineClosed(LineEnd.CANCELLED),
    ]
    assert session.plan is PLAN


async def test_the_caller_is_heard_byte_for_byte_two_frames_at_a_time(autojump_clock: MockClock) -> None:
    async with calling(uplink_frames=2) as call:
        session = await call.begun()
        for number in range(5):
            call.stream.speak(voice(number))
            await trio.sleep(0.02)

    assert session.audio == [voice(0) + voice(1), voice(2) + voice(3)]


async def test_what_comes_at_once_goes_in_one_piece(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()
        for number in range(3):
            call.stream.speak(voice(number))
        await trio.sleep(0.02)

    assert session.audio == [voice(0) + voice(1) + voice(2)]


async def test_nobody_hears_the_caller_before_the_session_has_begun(autojump_clock: MockClock) -> None:
    agent = MemoryAgent(usual_start=Start(after_s=1.0))
    async with calling(agent=agent) as call:
        call.stream.speak(voice(1))
        await trio.sleep(0.1)
        call.bridge.open_agent(PLAN)
        call.stream.speak(voice(2))
        await call.until(SessionBegan)
        call.stream.speak(voice(3))
        await trio.sleep(0.1)

    assert agent.sessions[0].audio == [voice(3)]


async def test_an_agent_slower_than_real_time_misses_the_oldest(autojump_clock: MockClock) -> None:
    agent = MemoryAgent(hear_s=4.0)
    async with calling(agent=agent) as call:
        session = await call.begun()
        for number in range(150):
            call.stream.speak(voice(number))
            await trio.sleep(0.02)
        await trio.sleep(60)
        with capture_logs() as logs:
            call.bridge.hang_up()
            await call.ended.wait()

    heard = b"".join(session.audio)
    assert heard == voice(0) + b"".join(voice(number) for number in range(100, 150))
    assert logs[0]["event"] == "line closed"
    assert logs[0]["dropped_from_caller_s"] == 99 * 0.02


async def test_keys_and_nonsense(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.begun()
        with capture_logs() as logs:
            call.stream.tell("dtmf", {"digit": "0"})
            call.stream.tell("dtmf", {})
            call.stream.tell("media", {"payload": "!"})
            call.stream.tell("novelty")
            call.stream.tell("mark", {"name": "never set"})
            call.stream.tell("dtmf", {"digit": "#"})
            await call.until(KeyPressed, 2)

    assert call.told(KeyPressed) == [KeyPressed("0"), KeyPressed("#")]
    assert [log["reason"] for log in logs] == ["dtmf without digit"]


# --- From the agent to the caller -----------------------------------------------------------------------


async def test_the_agents_voice_goes_on_at_once(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()
        began_s = trio.current_time()
        await call.says(
            session, audio(1, length=8_000), audio(2, length=8_000), AgentAudio(payload=b"", event_id=3)
        )

    assert call.stream.audio == voice(1, 8_000) + voice(2, 8_000)
    assert all(at_s == began_s for at_s, _ in call.stream.sent)
    assert call.told(AgentSpoke) == [AgentSpoke()]


async def test_an_interruption_clears_and_voids_what_comes_late(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()
        await call.says(session, audio(1, 5))
        await call.says(session, AgentInterrupted(event_id=5))
        await call.says(
            session, audio(2, 4), audio(3, 5), audio(4, 6), AgentAudio(payload=voice(5), event_id=None)
        )
        await trio.sleep(1)
        await call.says(session, AgentInterrupted(event_id=7), audio(6, 7), audio(7, 8))
        await call.says(session, AgentInterrupted(event_id=None))

    assert call.stream.events == ["media", "clear", "media", "media", "media", "clear"]
    assert call.stream.audio == voice(1) + voice(4) + voice(5) + voice(7)


async def test_what_the_agent_asks_and_understands_is_told(autojump_clock: MockClock) -> None:
    asked = ToolCalled(
        name="request_advisor",
        call_id="c1",
        parameters={"reason": "precio"},
        expects_response=True,
        event_id=4,
    )
    async with calling() as call:
        session = await call.begun()
        await call.says(session, PersonSaid(text="Hola"), AgentReplied(text="Sí", event_id=3), asked)
        call.bridge.answer_tool("c1", "llamando", is_error=False)
        await trio.sleep(0.1)

    assert call.events[2:3] == [
        ToolAsked(
            name="request_advisor", call_id="c1", parameters={"reason": "precio"}, expects_response=True
        ),
    ]
    assert session.tool_results == [("c1", "llamando", False)]


async def test_a_mark_is_heard_when_it_comes_back(autojump_clock: MockClock) -> None:
    async with calling(stream=Stream(returns_marks=True)) as call:
        session = await call.begun()
        await call.says(session, audio(1))
        call.bridge.mark("told")
        await call.until(Heard)

    assert call.told(Heard) == [Heard("told", is_all=True)]
    assert call.stream.events == ["media", "mark"]


async def test_a_mark_that_does_not_come_back_is_heard_two_seconds_late(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()
        await call.says(session, audio(1, length=RATE_HZ))
        said_s = trio.current_time()
        call.bridge.mark("told")
        await call.until(Heard)
        assert trio.current_time() - said_s == pytest.approx(3.0, abs=0.01)
        call.bridge.mark("again")
        await call.says(session, audio(2, length=80_000))
        call.bridge.mark("cut off")
        await call.says(session, AgentInterrupted(event_id=2))
        cut_s = trio.current_time()
        await call.until(Heard, 3)
        assert trio.current_time() - cut_s == pytest.approx(2.0, abs=0.01)

    assert call.told(Heard) == [
        Heard("told", is_all=True),
        Heard("again", is_all=False),
        Heard("cut off", is_all=True),
    ]


# --- Telling the agent ----------------------------------------------------------------------------------


async def test_the_agent_is_told_in_order_and_once_it_is_there(autojump_clock: MockClock) -> None:
    told: list[str] = []

    def react(_: MemorySession, heard: str) -> Sequence[Any]:
        told.append(f"{heard} after {len(agent.sessions[0].informed)}")
        return []

    agent = MemoryAgent(usual_start=Start(after_s=1.0), usual_reaction=react)
    async with calling(agent=agent) as call:
        call.bridge.tell_agent(context="nobody is there")
        call.bridge.open_agent(PLAN)
        call.bridge.tell_agent(context="uno", prompt="habla")
        call.bridge.tell_agent(context="dos")
        call.bridge.tell_agent(context="", prompt="sigue")
        call.bridge.answer_tool("c1", "x", is_error=True)
        await trio.sleep(2)

    assert told == ["habla after 1", "sigue after 2"]
    assert agent.sessions[0].informed == ["uno", "dos"]
    assert agent.sessions[0].tool_results == [("c1", "x", True)]


async def test_no_more_waits_to_be_told_than_may(autojump_clock: MockClock) -> None:
    agent = MemoryAgent(usual_start=Start(after_s=1.0))
    async with calling(agent=agent, words_max=3) as call:
        call.bridge.open_agent(PLAN)
        with capture_logs() as logs:
            for number in range(5):
                call.bridge.tell_agent(context=str(number))
        await trio.sleep(2)

    assert agent.sessions[0].informed == ["0", "1", "2"]
    assert [log["event"] for log in logs] == ["agent not told: too much waits to be said"] * 2


async def test_the_agent_speaks_anew_after_a_prompt(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()
        await call.says(session, audio(1), audio(2))
        call.bridge.tell_agent(context="El asesor no contesta.")
        await call.says(session, audio(3))
        assert len(call.told(AgentSpoke)) == 1
        call.bridge.tell_agent(context="El asesor no contesta.", prompt="Dígaselo.")
        await trio.sleep(0.1)
        await call.says(session, audio(4), audio(5))

    assert len(call.told(AgentSpoke)) == 2


async def test_words_go_before_sound(autojump_clock: MockClock) -> None:
    order: list[str] = []

    def note(what: str) -> Sequence[Any]:
        order.append(what)
        return ()

    agent = MemoryAgent(
        hear_s=0.5, usual_hearing=lambda *_: note("sound"), usual_reaction=lambda *_: note("words")
    )
    async with calling(agent=agent) as call:
        await call.begun()
        call.stream.speak(voice(1))
        await trio.sleep(0.1)
        call.stream.speak(voice(2))
        await trio.sleep(0.1)
        call.bridge.tell_agent(context="", prompt="¡Ya!")
        await trio.sleep(2)

    assert order == ["sound", "words", "sound"]


# --- Sessions -------------------------------------------------------------------------------------------


async def test_a_lost_session_is_told_and_another_takes_its_place(autojump_clock: MockClock) -> None:
    async with calling() as call:
        first = await call.begun()
        await call.says(first, AgentInterrupted(event_id=50), LOST)
        await call.until(SessionEnded)
        call.stream.speak(voice(1))
        await trio.sleep(0.1)
        second = await call.begun()
        call.stream.speak(voice(2))
        await call.says(second, audio(3))

    assert call.told(SessionEnded) == [SessionEnded(LOST)]
    assert (first.audio, second.audio) == ([], [voice(2)])
    assert call.stream.audio == voice(3)
    assert len(call.told(AgentSpoke)) == 1


async def test_another_session_closes_the_first_and_hears_nothing_of_it(autojump_clock: MockClock) -> None:
    asked = ToolCalled(name="take_message", call_id="c9", parameters={}, expects_response=True, event_id=9)
    agent = MemoryAgent(close_s=0.5, last_words=[audio(9), asked])
    async with calling(agent=agent) as call:
        first = await call.begun()
        call.bridge.tell_agent(context="to the first")
        call.bridge.open_agent(PLAN)
        call.bridge.open_agent(PLAN)
        call.bridge.tell_agent(context="to the last")
        asked_s = trio.current_time()
        await call.until(SessionBegan, 2)
        assert trio.current_time() - asked_s == pytest.approx(0.5)
        await trio.sleep(1)
        assert not first.is_open
        assert [session.informed for session in agent.sessions] == [[], ["to the last"]]
        assert call.told(SessionEnded) == call.told(ToolAsked) == []
        assert call.stream.sent == []


async def test_a_closed_session_leaves_the_stream(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()
        await call.says(session, audio(1))
        call.bridge.close_agent()
        call.bridge.close_agent()
        await trio.sleep(1)
        assert not session.is_open
        call.stream.tell("dtmf", {"digit": "1"})
        await call.until(KeyPressed)
        call.bridge.mark("goodbye")
        await call.until(Heard)

    assert call.told(SessionEnded) == []


# --- Music ----------------------------------------------------------------------------------------------


async def test_music_goes_just_ahead_of_its_moment(autojump_clock: MockClock) -> None:
    async with calling() as call:
        began_s = trio.current_time()
        call.bridge.music(on=True)
        call.bridge.music(on=True)
        await trio.sleep(10)
        sent_s = len(call.stream.audio) / RATE_HZ

    assert 0.15 <= sent_s - 10 <= 0.26
    assert {len(b64decode(frame["media"]["payload"])) for frame in call.stream.all("media")} == {800}
    places = [at_s - began_s for at_s, _ in call.stream.sent]
    assert places == pytest.approx([0.0, 0.0] + [0.05 + 0.1 * number for number in range(len(places) - 2)])


async def test_music_lasts_over_sessions_and_stops_with_its_last_sound(autojump_clock: MockClock) -> None:
    async with calling() as call:
        call.bridge.music(on=True)
        session = await call.begun()
        await call.says(session, audio(1, length=8_000), LOST)
        await trio.sleep(0.5)
        tasks = len(call.bridge._nursery.child_tasks)  # type: ignore[union-attr]
        call.bridge.music(on=False)
        await trio.sleep(0.7)
        count = len(call.stream.sent)
        assert len(call.bridge._nursery.child_tasks) == tasks - 1  # type: ignore[union-attr]
        await trio.sleep(10)
        assert len(call.stream.sent) == count
        session = await call.begun()
        await call.says(session, audio(2))

    assert call.stream.audio.endswith(voice(2))


async def test_voice_that_twilio_holds_is_taken_back_when_music_begins(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()
        await call.says(session, audio(1, length=16_000))
        call.bridge.mark("said")
        await trio.sleep(0.5)
        call.bridge.music(on=True)
        began_s = trio.current_time()
        await call.until(Heard)
        assert trio.current_time() - began_s == pytest.approx(1.5 + 2.0, abs=0.1)

    assert call.stream.events[:4] == ["media", "mark", "clear", "media"]


async def test_after_a_stall_the_music_goes_on_from_now(autojump_clock: MockClock) -> None:
    async with calling() as call:
        call.bridge.music(on=True)
        await trio.sleep(1)
        count = len(call.stream.sent)
        autojump_clock.jump(30)
        await trio.sleep(0.01)

    assert len(call.stream.sent) - count <= 3


# --- Ends -----------------------------------------------------------------------------------------------


async def end_of(call: Call, session: MemorySession) -> list[LineEnd]:
    await call.ended.wait()
    assert not session.is_open
    assert isinstance(call.events[-1], LineClosed)
    count = len(call.events)
    bridge = call.bridge
    bridge.open_agent(PLAN)
    bridge.music(on=True)
    bridge.mark("never")
    bridge.tell_agent(context="x", prompt="y")
    bridge.answer_tool("c", "r", is_error=False)
    bridge.close_agent()
    bridge.hang_up()
    await trio.sleep(10)
    assert len(call.events) == count
    return [event.reason for event in call.told(LineClosed)]


async def test_a_stop_ends_everything(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()
        call.stream.tell("stop", {})
        assert await end_of(call, session) == [LineEnd.STOPPED]
    assert call.stream.codes == [1000]


async def test_a_lost_stream_ends_everything(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()
        call.stream.drop()
        assert await end_of(call, session) == [LineEnd.LOST]


async def test_hanging_up_sends_what_was_said_before_and_closes(autojump_clock: MockClock) -> None:
    agent = MemoryAgent(close_s=0.9)
    async with calling(agent=agent) as call:
        session = await call.begun()
        session.unasked(audio(1))
        await call.until(AgentSpoke)
        call.bridge.hang_up()
        closed_s = trio.current_time()
        await call.until(LineClosed)
        assert trio.current_time() == closed_s
        assert await end_of(call, session) == [LineEnd.HUNG_UP]
    assert call.stream.codes == [1000]


async def test_cancelling_is_told_too(autojump_clock: MockClock) -> None:
    async with calling() as call:
        session = await call.begun()
        call.bridge.music(on=True)
        call.scope.cancel()
        assert await end_of(call, session) == [LineEnd.CANCELLED]


async def test_a_crash_is_told_and_comes_out(autojump_clock: MockClock) -> None:
    class Broken(MemoryAgent):
        @override
        async def run(self, plan: SessionPlan, deliver: Callable[[AgentEvent], None]) -> SessionEnd:
            raise RuntimeError("a bug")

    events: list[LineEvent] = []
    bridge = Bridge(socket=Stream(), started=STARTED, sessions=Broken(), make_bed=a_bed, rules=BridgeRules())
    bridge.open_agent(PLAN)
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a bug"), flatten_subgroups=True):
        await bridge.run(events.append, token="t")

    assert [type(event) for event in events] == [LineOpened, LineClosed]


async def test_a_stream_that_takes_nothing_is_broken_off(autojump_clock: MockClock) -> None:
    async with calling(stream=Stream(is_stuck=True), frames_max=20) as call:
        session = await call.begun()
        with capture_logs() as logs:
            await call.says(session, *(audio(1) for _ in range(30)))
            assert await end_of(call, session) == [LineEnd.LOST]
    assert logs[0]["event"] == "media stream takes nothing"


async def test_a_line_may_be_used_before_it_opens(autojump_clock: MockClock) -> None:
    stream, agent = Stream(), MemoryAgent()
    bridge = Bridge(socket=stream, started=STARTED, sessions=agent, make_bed=a_bed, rules=BridgeRules())
    bridge.open_agent(PLAN)
    bridge.open_agent(evolve(PLAN, user_id="second"))
    bridge.tell_agent(context="dos")
    bridge.music(on=True)
    events: list[LineEvent] = []
    with trio.move_on_after(1):
        await bridge.run(events.append, token="t")

    assert [session.plan.user_id for session in agent.sessions] == ["second"]
    assert agent.sessions[0].informed == ["dos"]
    assert len(stream.audio) / RATE_HZ == pytest.approx(1.2, abs=0.06)


async def test_a_line_may_be_hung_up_before_it_opens(autojump_clock: MockClock) -> None:
    stream = Stream()
    bridge = Bridge(
        socket=stream, started=STARTED, sessions=MemoryAgent(), make_bed=a_bed, rules=BridgeRules()
    )
    bridge.open_agent(PLAN)
    bridge.hang_up()
    events: list[LineEvent] = []
    await bridge.run(events.append, token="t")

    assert events[1:] == [LineClosed(LineEnd.HUNG_UP)]
    assert stream.codes == [1000]
