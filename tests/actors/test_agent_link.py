"""A conversation's link to the agent: open, hear, close, and nothing of the one before."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked
from typing_extensions import override

from actors.agent_events import AgentEvent, AgentReplied, SessionEnd, SessionOpened, SessionPlan, ToolCalled
from actors.alerts import Alerts
from actors.conversation.agent_access import AgentAccess
from actors.conversation.agent_link import AgentLink
from actors.conversation.socket_budget import SocketBudget
from actors.conversation.turn_in_flight import Link
from actors.metrics import NoMetrics
from tests.actors.worlds import ACCESS_RULES
from tests.memory.agent import LOST, REFUSED, MemoryAgent, Start
from tests.memory.clock import VirtualClock

PLAN = SessionPlan(agent_id="agent_text", user_id="5f1c")
TOOL = ToolCalled(name="ask", call_id="t1", parameters={}, expects_response=True, event_id=7)


class SessionMetrics(NoMetrics):
    def __init__(self) -> None:
        self.opened_after_s: list[float] = []
        self.closed: list[int | None] = []

    @override
    def agent_session_opened(self, seconds: float, /) -> None:
        self.opened_after_s.append(seconds)

    @override
    def agent_session_closed(self, code: int | None, /) -> None:
        self.closed.append(code)


@define(eq=False)
class Caller:
    """Somebody with a link, and what it heard."""

    nursery: trio.Nursery
    agent: MemoryAgent = field(factory=MemoryAgent)
    seats: int = 2
    metrics: SessionMetrics = field(factory=SessionMetrics)
    heard: list[AgentEvent | SessionEnd] = field(factory=list)
    budget: SocketBudget = field(init=False)
    access: AgentAccess = field(init=False)
    link: AgentLink = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.budget = SocketBudget(self.seats)
        self.access = AgentAccess(ACCESS_RULES, budget=self.budget, alerts=Alerts(VirtualClock()))
        self.link = AgentLink(self.agent, self.access, self.metrics, self.heard.append)

    async def open(self) -> None:
        self.link.open(self.nursery, PLAN)
        await wait_all_tasks_blocked()


# Functions, since these change behind the back of the type checker.
def state(caller: Caller) -> Link:
    return caller.link.state


def idle_since(caller: Caller) -> float | None:
    return caller.link.idle_since


def has_unsaved_session(caller: Caller) -> bool:
    return caller.link.has_unsaved_session


def has_tool_calls(caller: Caller) -> bool:
    return caller.link.has_tool_calls


@asynccontextmanager
async def calling(*, seats: int = 2) -> AsyncIterator[Caller]:
    with trio.fail_after(1e6):
        async with trio.open_nursery() as nursery:
            yield Caller(nursery, seats=seats)
            nursery.cancel_scope.cancel()


async def test_a_link_is_closed_opening_and_open(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        caller.agent.usual_start = Start(after_s=5)
        assert state(caller) is Link.CLOSED

        caller.link.open(caller.nursery, PLAN)
        await trio.sleep(4)
        assert state(caller) is Link.OPENING
        assert len(caller.budget) == 1

        await trio.sleep(2)
        assert state(caller) is Link.OPEN
        assert caller.link.session is caller.agent.sessions[0]
        assert caller.agent.sessions[0].plan is PLAN
        assert caller.metrics.opened_after_s == [5]


async def test_a_link_is_opened_once_at_a_time(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        await caller.open()

        with pytest.raises(RuntimeError):
            caller.link.open(caller.nursery, PLAN)


async def test_everything_is_heard_in_order_and_the_end_last(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        await caller.open()
        replies = [AgentReplied(text=text, event_id=number) for number, text in enumerate("ab")]
        caller.agent.sessions[0].unasked(*replies, LOST)
        await trio.sleep(1)

        assert caller.heard == [SessionOpened(caller.agent.sessions[0]), *replies, LOST]
        assert caller.link.is_closed
        assert len(caller.budget) == 0
        assert caller.metrics.closed == [LOST.code]


async def test_a_session_that_does_not_come_about_is_heard_as_its_end(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        caller.agent.usual_start = Start(end=REFUSED)
        caller.link.open(caller.nursery, PLAN)
        await trio.sleep(1)

        assert caller.heard == [REFUSED]
        assert caller.link.is_closed
        assert caller.metrics.closed == [1008]


async def test_without_a_seat_no_session_is_asked_for(autojump_clock: MockClock) -> None:
    async with calling(seats=0) as caller:
        caller.link.open(caller.nursery, PLAN)
        await trio.sleep(10)

        (end,) = caller.heard
        assert isinstance(end, SessionEnd)
        assert end.may_retry
        assert caller.agent.sessions == []


async def test_nothing_is_heard_of_a_session_after_it_was_closed(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        caller.agent.close_s = 0.9
        caller.agent.last_words = [AgentReplied(text="tarde", event_id=1), TOOL]
        await caller.open()
        caller.heard.clear()
        caller.link.close(reason="test")
        assert caller.link.is_closed
        await trio.sleep(5)

        assert caller.heard == []
        assert caller.metrics.closed == [1000]


async def test_an_end_that_meets_our_closing_is_not_heard_either(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        await caller.open()
        caller.heard.clear()
        caller.agent.sessions[0].end(LOST)
        caller.link.close(reason="test")
        await trio.sleep(5)

        assert caller.heard == []


async def test_a_seat_is_kept_until_its_socket_is_really_closed(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        caller.agent.close_s = 0.9
        await caller.open()
        caller.link.close(reason="test")
        await caller.open()
        assert len(caller.budget) == 2

        await trio.sleep(1)
        assert len(caller.budget) == 1
        assert state(caller) is Link.OPEN


async def test_a_session_that_is_still_being_opened_can_be_closed(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        caller.agent.usual_start = Start(after_s=5)
        await caller.open()
        caller.link.close(reason="test")
        await trio.sleep(10)

        assert caller.heard == []
        assert len(caller.budget) == 0


async def test_closing_what_is_closed_does_nothing() -> None:
    async with calling() as caller:
        caller.link.close(reason="test")
        caller.link.busy()
        caller.link.idle()

        assert caller.link.is_closed
        assert caller.link.idle_since is None


async def test_a_session_is_idle_from_when_it_was_said_so_until_it_is_needed(
    autojump_clock: MockClock,
) -> None:
    async with calling() as caller:
        await caller.open()
        assert idle_since(caller) is None

        await trio.sleep(5)
        caller.link.idle()
        assert idle_since(caller) == 5

        caller.link.busy()
        assert idle_since(caller) is None


async def test_an_idle_session_gives_way_to_another(autojump_clock: MockClock) -> None:
    async with calling(seats=1) as caller:
        await caller.open()
        caller.link.idle()
        other = AgentLink(caller.agent, caller.access, caller.metrics, caller.heard.append)
        other.open(caller.nursery, PLAN)
        await trio.sleep(1)

        assert caller.link.is_closed
        assert other.state is Link.OPEN


async def test_a_session_that_becomes_idle_gives_way_to_who_waits_already(autojump_clock: MockClock) -> None:
    async with calling(seats=1) as caller:
        await caller.open()
        other = AgentLink(caller.agent, caller.access, caller.metrics, caller.heard.append)
        other.open(caller.nursery, PLAN)
        await trio.sleep(2)
        caller.link.idle()
        await trio.sleep(1)

        assert caller.link.is_closed
        assert other.state is Link.OPEN


async def test_a_session_is_handed_out_to_be_saved_once(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        caller.agent.usual_start = Start(after_s=5)
        await caller.open()
        assert not has_unsaved_session(caller)
        assert caller.link.take_unsaved_session() is None

        await trio.sleep(6)
        assert has_unsaved_session(caller)
        assert caller.link.take_unsaved_session() is caller.agent.sessions[0]
        assert not has_unsaved_session(caller)
        assert caller.link.take_unsaved_session() is None


async def test_tool_calls_and_event_ids_are_those_of_the_present_session(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        await caller.open()
        caller.agent.sessions[0].unasked(TOOL, TOOL, AgentReplied(text="", event_id=3))
        await trio.sleep(1)
        assert caller.link.last_event_id == 7
        assert caller.link.take_tool_call() is TOOL
        assert has_tool_calls(caller)

        caller.link.close(reason="test")
        await caller.open()
        assert not has_tool_calls(caller)
        assert caller.link.take_tool_call() is None
        assert caller.link.last_event_id == -1


async def test_an_event_is_heard_before_it_counts_as_the_last(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        seen: list[int] = []
        caller.link.hear = lambda _event: seen.append(caller.link.last_event_id)
        await caller.open()
        caller.agent.sessions[0].unasked(AgentReplied(text="", event_id=0), AgentReplied(text="", event_id=4))
        await trio.sleep(1)

        assert seen == [-1, -1, 0]


async def test_the_end_of_its_owner_closes_the_session(autojump_clock: MockClock) -> None:
    async with calling() as caller:
        async with trio.open_nursery() as owner:
            caller.link.open(owner, PLAN)
            await trio.sleep(1)
            owner.cancel_scope.cancel()

        assert caller.agent.open_sessions == []
        assert len(caller.budget) == 0
        assert caller.metrics.closed == [1000]
