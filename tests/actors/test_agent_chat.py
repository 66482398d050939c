"""`relevo agent chat` with lines from a pipe: each is answered to the end before the next goes, or given up."""

import io
from collections.abc import Callable, Sequence

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from actors.agent_events import (
    AgentEvent,
    AgentReplied,
    ReplyCompleted,
    SessionEnd,
    SessionOpened,
    SessionPlan,
)
from daemon.cli.agent import ANSWER_TIMEOUT_S, Chat

PLAN = SessionPlan(agent_id="agent_1", user_id="somebody")


@define
class Terse:
    """A session whose agent answers every line with the same events, each after so many seconds."""

    answer: Sequence[tuple[float, AgentEvent]]
    emit: Callable[[AgentEvent | SessionEnd], None]
    nursery: trio.Nursery
    said: list[tuple[str, float]] = field(factory=list)
    conversation_id: str = "conv_1"

    async def say(self, text: str) -> None:
        self.said.append((text, trio.current_time()))
        self.nursery.start_soon(self._reply)

    async def _reply(self) -> None:
        for after_s, event in self.answer:
            await trio.sleep(after_s)
            self.emit(event)


@define
class Sessions:
    answer: Sequence[tuple[float, AgentEvent]]
    session: Terse | None = None

    async def run(self, plan: SessionPlan, emit: Callable[[AgentEvent | SessionEnd], None]) -> SessionEnd:
        async with trio.open_nursery() as nursery:
            self.session = Terse(self.answer, emit, nursery)
            emit(SessionOpened(session=self.session))  # type: ignore[arg-type]
            await trio.sleep_forever()
        raise AssertionError


async def chat(
    answer: Sequence[tuple[float, AgentEvent]], monkeypatch: pytest.MonkeyPatch
) -> tuple[Chat, Terse]:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hola\n¿Cuánto cuesta?\n"))
    sessions = Sessions(answer)
    talk = Chat(sessions, settle_s=1.0)  # type: ignore[arg-type]
    assert await talk.hold(PLAN) is None
    assert sessions.session is not None
    return talk, sessions.session


def reply(text: str) -> AgentReplied:
    return AgentReplied(text=text, event_id=None)


async def test_an_answer_in_two_replies_is_waited_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = (
        (8.0, reply("Un momento.")),
        (0.5, reply("Cuesta dos mil.")),
        (0.1, ReplyCompleted(event_id=None)),
    )
    talk, session = await chat(answer, monkeypatch)

    assert [text for text, _ in session.said] == ["Hola", "¿Cuánto cuesta?"]
    assert session.said[1][1] - session.said[0][1] == pytest.approx(8.6)
    assert capsys.readouterr().out.count("Cuesta dos mil.") == 2
    assert talk.unanswered == 0


async def test_an_agent_that_does_not_say_when_it_is_done_is_given_a_moment(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, session = await chat(((2.0, reply("Hola.")),), monkeypatch)

    assert session.said[1][1] - session.said[0][1] == pytest.approx(3.0)


async def test_lines_that_nobody_answers_are_counted(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, session = await chat((), monkeypatch)

    assert session.said[1][1] - session.said[0][1] == pytest.approx(ANSWER_TIMEOUT_S)
    assert talk.unanswered == 2
