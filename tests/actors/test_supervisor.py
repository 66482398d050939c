"""The supervisor's children: how they start, crash, come back and go, in virtual time."""

import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked
from typing_extensions import override

from actors.metrics import NoMetrics
from actors.runtime.supervisor import (
    LARGEST_BACKOFF_S,
    ChildExit,
    ChildSpec,
    RestartIntensity,
    RestartPolicy,
    Supervisor,
    SupervisorGaveUpError,
)

crashes = pytest.mark.expects_error_log

NEVER_S = 1e6
"""Virtual time in which a test that hangs is failed."""
THRICE = RestartIntensity(restarts_max=3, within_s=60, backoff_s=1)


class ChildError(Exception):
    pass


class RestartCounter(NoMetrics):
    def __init__(self) -> None:
        self.kinds: list[str] = []

    @override
    def child_restarted(self, kind: str, /) -> None:
        self.kinds.append(kind)


@define(eq=False)
class Child:
    """A child that does in each life what `live` says of it; counts its lives."""

    live: Callable[[int], Awaitable[None]]
    is_ready_at_once: bool = True
    began_at: list[float] = field(factory=list)
    exits: list[ChildExit] = field(factory=list)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.began_at.append(trio.current_time())
        if self.is_ready_at_once:
            task_status.started()
        await self.live(len(self.began_at))

    def spec(
        self,
        policy: RestartPolicy = RestartPolicy.TRANSIENT,
        *,
        name: str = "child",
        intensity: RestartIntensity = THRICE,
    ) -> ChildSpec:
        return ChildSpec(
            name=name,
            run=self.run,
            policy=policy,
            kind="test",
            intensity=intensity,
            on_exit=self.exits.append,
        )


async def forever(_life: int) -> None:
    await trio.sleep_forever()


async def once(_life: int) -> None:
    pass


async def crash(_life: int) -> None:
    raise ChildError


def crash_until(life: int) -> Callable[[int], Awaitable[None]]:
    async def live(this: int) -> None:
        if this < life:
            raise ChildError
        await trio.sleep_forever()

    return live


async def leak(_life: int) -> None:
    """Raise a Cancelled of a scope that is closed, as a library that keeps one and raises it later does."""
    kept: list[trio.Cancelled] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise
    raise kept[0]


@asynccontextmanager
async def supervising(metrics: NoMetrics | None = None) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(metrics=metrics or NoMetrics())
    with trio.fail_after(NEVER_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            yield supervisor
            nursery.cancel_scope.cancel()


async def test_a_child_is_ready_when_start_returns(autojump_clock: MockClock) -> None:
    child = Child(forever)
    async with supervising() as supervisor:
        await supervisor.start(child.spec())

        state = supervisor.state("child")
        assert state is not None
        assert state.is_running
        assert state.restarts == 0


async def test_nobody_can_be_started_before_the_supervisor_runs_and_nothing_remains_of_the_attempt(
    autojump_clock: MockClock,
) -> None:
    supervisor = Supervisor(metrics=NoMetrics())

    with pytest.raises(RuntimeError):
        supervisor.spawn(Child(forever).spec())

    assert supervisor.state("child") is None


async def test_two_living_children_cannot_have_one_name(autojump_clock: MockClock) -> None:
    async with supervising() as supervisor:
        await supervisor.start(Child(forever).spec())

        with pytest.raises(ValueError, match="child"):
            supervisor.spawn(Child(forever).spec())


@pytest.mark.parametrize("policy", [RestartPolicy.TRANSIENT, RestartPolicy.TEMPORARY])
async def test_a_child_that_returns_is_gone(autojump_clock: MockClock, policy: RestartPolicy) -> None:
    child = Child(once)
    async with supervising() as supervisor:
        supervisor.spawn(child.spec(policy))
        await wait_all_tasks_blocked()

        assert child.exits == [ChildExit.ENDED]
        assert supervisor.state("child") is None


@crashes
@pytest.mark.parametrize("policy", [RestartPolicy.TRANSIENT, RestartPolicy.PERMANENT])
async def test_a_crashed_child_comes_back_and_its_sibling_notices_nothing(
    autojump_clock: MockClock, policy: RestartPolicy
) -> None:
    metrics, child, sibling = RestartCounter(), Child(crash_until(3)), Child(forever)
    async with supervising(metrics) as supervisor:
        await supervisor.start(sibling.spec(name="sibling"))
        supervisor.spawn(child.spec(policy))
        await trio.sleep(10)

        assert child.began_at == [0, 1, 3]
        assert metrics.kinds == ["test", "test"]
        assert supervisor.restarts == 2
        assert len(sibling.began_at) == 1


@crashes
async def test_a_temporary_child_never_comes_back(autojump_clock: MockClock) -> None:
    child = Child(crash)
    async with supervising() as supervisor:
        supervisor.spawn(child.spec(RestartPolicy.TEMPORARY))
        await trio.sleep(100)

        assert len(child.began_at) == 1
        assert child.exits == [ChildExit.ENDED]


@crashes
async def test_a_permanent_child_that_just_returns_comes_back(autojump_clock: MockClock) -> None:
    child = Child(once)
    async with supervising() as supervisor:
        supervisor.spawn(child.spec(RestartPolicy.PERMANENT))
        await trio.sleep(2)

        assert len(child.began_at) > 1


@crashes
async def test_a_transient_child_over_its_intensity_is_parked_and_the_others_go_on(
    autojump_clock: MockClock,
) -> None:
    child, sibling = Child(crash), Child(forever)
    async with supervising() as supervisor:
        await supervisor.start(sibling.spec(name="sibling"))
        supervisor.spawn(child.spec())
        await trio.sleep(100)

        assert child.began_at == [0, 1, 3, 7]
        assert child.exits == [ChildExit.PARKED]
        assert sibling.exits == []


@crashes
async def test_a_permanent_child_over_its_intensity_ends_the_supervisor(autojump_clock: MockClock) -> None:
    child, sibling = Child(crash), Child(forever)

    with pytest.RaisesGroup(SupervisorGaveUpError, flatten_subgroups=True):
        async with supervising() as supervisor:
            await supervisor.start(sibling.spec(name="sibling"))
            supervisor.spawn(child.spec(RestartPolicy.PERMANENT))
            await trio.sleep(100)

    assert child.began_at == [0, 1, 3, 7]
    assert sibling.exits == [ChildExit.STOPPED]


@crashes
async def test_crashes_far_enough_apart_are_forgiven_for_ever(autojump_clock: MockClock) -> None:
    async def live_an_hour(_life: int) -> None:
        await trio.sleep(3600)
        raise ChildError

    child = Child(live_an_hour)
    async with supervising() as supervisor:
        supervisor.spawn(child.spec())
        await trio.sleep(3600 * 20)

        assert len(child.began_at) == 20
        assert child.began_at[-1] - child.began_at[-2] == 3601


@crashes
async def test_the_pause_before_a_restart_doubles_up_to_its_limit(autojump_clock: MockClock) -> None:
    child = Child(crash)
    async with supervising() as supervisor:
        supervisor.spawn(child.spec(intensity=RestartIntensity(restarts_max=8, within_s=1000, backoff_s=1)))
        await trio.sleep(500)

        lives = child.began_at
        pauses = [later - earlier for earlier, later in pairwise(lives)]
        assert pauses == [1, 2, 4, 8, 16, *[LARGEST_BACKOFF_S] * 3]


@crashes
async def test_a_raw_cancelled_that_leaks_out_of_a_child_is_a_crash_of_that_child_alone(
    autojump_clock: MockClock,
) -> None:
    child, sibling = Child(leak), Child(forever)
    async with supervising() as supervisor:
        await supervisor.start(sibling.spec(name="sibling"))
        supervisor.spawn(child.spec())
        await trio.sleep(100)

        assert len(child.began_at) == 4
        assert child.exits == [ChildExit.PARKED]
        assert sibling.exits == []


@pytest.mark.parametrize("reason", [KeyboardInterrupt, SystemExit])
async def test_who_wants_to_leave_the_process_leaves_it(
    autojump_clock: MockClock, reason: type[BaseException]
) -> None:
    async def leave(_life: int) -> None:
        async with trio.open_nursery():
            raise reason

    with pytest.RaisesGroup(reason, flatten_subgroups=True):
        async with supervising() as supervisor:
            supervisor.spawn(Child(leave).spec())
            await trio.sleep(100)


async def test_a_spawned_child_inherits_no_context(autojump_clock: MockClock) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    seen: list[str | None] = []

    async def look(_life: int) -> None:
        seen.append(request.get(None))

    async with supervising() as supervisor:
        request.set("of the caller")
        supervisor.spawn(Child(look).spec())
        await wait_all_tasks_blocked()

    assert seen == [None]


async def test_a_stopped_child_is_gone_when_stop_returns(autojump_clock: MockClock) -> None:
    child = Child(forever)
    async with supervising() as supervisor:
        await supervisor.start(child.spec(RestartPolicy.PERMANENT))
        await supervisor.stop("child", reason="test")

        assert child.exits == [ChildExit.STOPPED]
        assert supervisor.state("child") is None
        await supervisor.stop("child", reason="there is none any more")


@crashes
async def test_a_child_can_be_stopped_while_it_waits_for_its_restart(autojump_clock: MockClock) -> None:
    child = Child(crash)
    async with supervising() as supervisor:
        supervisor.spawn(child.spec(intensity=RestartIntensity(backoff_s=20)))
        await trio.sleep(1)
        state = supervisor.state("child")
        assert state is not None
        assert not state.is_running

        await supervisor.stop("child", reason="test")

        assert trio.current_time() == 1
        assert child.exits == [ChildExit.STOPPED]
        assert len(child.began_at) == 1


@crashes
async def test_a_child_that_fails_while_it_is_being_stopped_takes_nobody_along(
    autojump_clock: MockClock,
) -> None:
    async def fail_to_clean_up(_life: int) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ChildError

    child, sibling = Child(fail_to_clean_up), Child(forever)
    async with supervising() as supervisor:
        await supervisor.start(sibling.spec(name="sibling"))
        await supervisor.start(child.spec())
        await supervisor.stop("child", reason="test")
        await trio.sleep(100)

        assert child.exits == [ChildExit.STOPPED]
        assert sibling.exits == []


@crashes
async def test_a_crash_before_a_child_is_ready_is_raised_where_it_was_started(
    autojump_clock: MockClock,
) -> None:
    child = Child(crash, is_ready_at_once=False)
    async with supervising() as supervisor:
        with pytest.raises(ChildError):
            await supervisor.start(child.spec(RestartPolicy.PERMANENT))

        assert len(child.began_at) == 1
        assert supervisor.state("child") is None
        await supervisor.start(Child(forever).spec())


@crashes
async def test_a_child_that_was_ready_once_may_be_restarted_without_anybody_waiting(
    autojump_clock: MockClock,
) -> None:
    child = Child(crash_until(2))
    async with supervising() as supervisor:
        await supervisor.start(child.spec())
        await trio.sleep(10)

        assert len(child.began_at) == 2


async def test_the_end_of_the_supervisor_stops_every_child(autojump_clock: MockClock) -> None:
    child = Child(forever)
    async with supervising() as supervisor:
        await supervisor.start(child.spec(RestartPolicy.PERMANENT))

    assert child.exits == [ChildExit.STOPPED]
