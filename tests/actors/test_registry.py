"""One actor per key, whatever happens to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.metrics import NoMetrics
from actors.runtime.mailbox import Mailbox
from actors.runtime.registry import Registry
from actors.runtime.supervisor import RestartIntensity, RunChild, Supervisor

crashes = pytest.mark.expects_error_log

NEVER_S = 1e6
IDLE_S = 60.0
PARK_S = 300.0
INTENSITY = RestartIntensity(restarts_max=2, within_s=60, backoff_s=1)


@define(eq=False)
class Office:
    """A registry of actors that take `work_s` over each message, and leave when none came for a while.

    A message `crash` makes its actor crash after it was received, `end` makes it return at once.
    """

    work_s: float = 0.0
    mailbox_size: int = 4
    done: list[tuple[int, str]] = field(factory=list)
    began: list[int] = field(factory=list)
    alive: set[int] = field(factory=set)
    parked: list[int] = field(factory=list)
    released: list[int] = field(factory=list)
    registry: Registry[str] = field(init=False)

    def open(self, supervisor: Supervisor) -> None:
        self.registry = Registry(
            supervisor,
            self._make_run,
            kind="clerk",
            mailbox_size=self.mailbox_size,
            intensity=INTENSITY,
            park_s=PARK_S,
            on_parked=self.parked.append,
            on_released=self.released.append,
        )

    def _make_run(self, key: int, mailbox: Mailbox[str]) -> RunChild:
        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            assert key not in self.alive, "two actors for one key"
            self.alive.add(key)
            self.began.append(key)
            try:
                task_status.started()
                await self._work(key, mailbox)
            finally:
                self.alive.discard(key)

        return run

    async def _work(self, key: int, mailbox: Mailbox[str]) -> None:
        while True:
            with trio.move_on_after(IDLE_S) as idle:
                message = await mailbox.receive()
            if idle.cancelled_caught or message == "end":
                return
            await trio.sleep(self.work_s)
            if message == "crash":
                raise RuntimeError(message)
            self.done.append((key, message))


@asynccontextmanager
async def open_office(**options: float) -> AsyncIterator[Office]:
    supervisor = Supervisor(metrics=NoMetrics())
    office = Office(**options)  # type: ignore[arg-type]
    with trio.fail_after(NEVER_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            office.open(supervisor)
            yield office
            nursery.cancel_scope.cancel()


async def test_the_first_message_starts_an_actor_and_the_next_finds_it(autojump_clock: MockClock) -> None:
    async with open_office() as office:
        assert office.registry.post(7, "a")
        assert office.registry.post(7, "b")
        await trio.sleep(1)

        assert office.done == [(7, "a"), (7, "b")]
        assert office.began == [7]
        assert list(office.registry) == [7]
        assert 7 in office.registry
        assert len(office.registry) == 1


async def test_keys_have_actors_of_their_own(autojump_clock: MockClock) -> None:
    async with open_office(work_s=5.0) as office:
        for key in (1, 2, 3):
            office.registry.post(key, "a")
        await trio.sleep(6)

        assert sorted(office.done) == [(1, "a"), (2, "a"), (3, "a")]


async def test_an_actor_that_has_nothing_to_do_leaves_and_a_message_brings_it_back(
    autojump_clock: MockClock,
) -> None:
    async with open_office() as office:
        office.registry.post(7, "a")
        await trio.sleep(IDLE_S + 1)
        assert 7 not in office.registry

        office.registry.post(7, "b")
        await trio.sleep(1)
        assert office.done == [(7, "a"), (7, "b")]
        assert office.began == [7, 7]


async def test_a_message_that_comes_while_an_actor_leaves_is_not_lost(autojump_clock: MockClock) -> None:
    async with open_office() as office:
        office.registry.post(7, "end")
        office.registry.post(7, "a")
        await trio.sleep(1)

        assert office.done == [(7, "a")]
        assert office.began == [7, 7]


async def test_messages_at_the_very_moment_of_leaving_are_not_lost(autojump_clock: MockClock) -> None:
    for early_s in (0.0, 1e-9, -1e-9):
        async with open_office() as office:
            office.registry.post(7, "a")
            await trio.sleep(IDLE_S + early_s)
            assert office.registry.post(7, "b")
            await trio.sleep(1)

            assert office.done == [(7, "a"), (7, "b")]


@crashes
async def test_a_crash_keeps_what_was_not_yet_received(autojump_clock: MockClock) -> None:
    async with open_office() as office:
        for message in ("crash", "a", "b"):
            office.registry.post(7, message)
        await trio.sleep(10)

        assert office.done == [(7, "a"), (7, "b")]


@crashes
async def test_messages_during_the_pause_before_a_restart_are_kept(autojump_clock: MockClock) -> None:
    async with open_office() as office:
        office.registry.post(7, "crash")
        await trio.sleep(0.5)
        assert 7 in office.registry
        assert office.registry.post(7, "a")
        await trio.sleep(10)

        assert office.done == [(7, "a")]


async def test_a_full_mailbox_drops_and_says_so(autojump_clock: MockClock) -> None:
    async with open_office(work_s=10.0) as office:
        office.registry.post(7, "0")
        await wait_all_tasks_blocked()

        assert [office.registry.post(7, str(number)) for number in range(1, 6)] == [True] * 4 + [False]


@crashes
async def test_an_actor_that_crashes_too_often_is_parked_and_others_are_not(
    autojump_clock: MockClock,
) -> None:
    async with open_office() as office:
        await _park(office, 7)

        assert office.parked == [7]
        assert office.registry.parked == [7]
        assert 7 not in office.registry
        assert len(office.registry) == 0
        assert not office.registry.post(7, "a")
        assert office.registry.post(8, "a")
        await trio.sleep(1)
        assert office.done == [(8, "a")]


@crashes
async def test_a_released_actor_starts_with_its_next_message(autojump_clock: MockClock) -> None:
    async with open_office() as office:
        await _park(office, 7)
        office.registry.release(7)
        assert office.registry.parked == []
        assert office.registry.post(7, "a")
        await trio.sleep(1)

        assert office.done == [(7, "a")]


@crashes
async def test_a_parked_actor_gets_another_chance_after_a_while(autojump_clock: MockClock) -> None:
    async with open_office() as office:
        await _park(office, 7)
        await trio.sleep(PARK_S)
        assert office.released == []
        assert office.registry.post(7, "a")
        await trio.sleep(1)

        assert office.done == [(7, "a")]
        assert office.registry.parked == []
        assert office.released == [7]


async def test_releasing_who_is_not_parked_does_nothing(autojump_clock: MockClock) -> None:
    async with open_office() as office:
        office.registry.post(7, "a")
        office.registry.release(7)
        office.registry.release(8)
        await trio.sleep(1)

        assert office.released == []
        assert 7 in office.registry
        assert office.done == [(7, "a")]


async def test_a_closed_registry_takes_nothing_and_is_empty_once_its_actors_have_left(
    autojump_clock: MockClock,
) -> None:
    async with open_office(work_s=5.0) as office:
        office.registry.post(7, "a")
        office.registry.post(8, "end")
        await wait_all_tasks_blocked()
        office.registry.close()
        assert not office.registry.post(7, "b")
        assert not office.registry.post(9, "a")
        await office.registry.until_empty()

        assert office.done == [(7, "a")]
        assert len(office.registry) == 0
        assert trio.current_time() == 5 + IDLE_S


async def test_a_closed_registry_starts_nobody_again_for_what_is_left(autojump_clock: MockClock) -> None:
    async with open_office() as office:
        office.registry.post(7, "end")
        office.registry.post(7, "left")
        office.registry.close()
        await office.registry.until_empty()

        assert office.began == [7]
        assert office.done == []


async def test_an_empty_registry_is_empty_at_once(autojump_clock: MockClock) -> None:
    async with open_office() as office:
        await office.registry.until_empty()

        assert trio.current_time() == 0


def test_nothing_remains_of_a_message_before_the_supervisor_runs() -> None:
    office = Office()
    office.open(Supervisor(metrics=NoMetrics()))

    with pytest.raises(RuntimeError):
        office.registry.post(7, "a")

    assert len(office.registry) == 0


STEPS = st.lists(
    st.tuples(
        st.integers(1, 2),
        st.sampled_from(["a", "b", "end", "crash", "release"]),
        st.sampled_from([0.0, 0.5, 1.0, 2.0, IDLE_S, PARK_S]),
    ),
    max_size=30,
)


@crashes
@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([0.0, 0.7]))
def test_under_any_schedule_there_is_one_actor_per_key_and_every_message_taken_is_received_once(
    steps: list[tuple[int, str, float]], work_s: float
) -> None:
    async def follow() -> None:
        async with open_office(work_s=work_s, mailbox_size=100) as office:
            taken: list[tuple[int, str]] = []
            for key, step, pause_s in steps:
                if step == "release":
                    office.registry.release(key)
                elif office.registry.post(key, step) and step in {"a", "b"}:
                    taken.append((key, step))
                await trio.sleep(pause_s)
            await trio.sleep(2 * IDLE_S + 100 * work_s)

            assert not office.alive
            assert len(office.registry) == 0
            for key in (1, 2):
                received = [message for done, message in office.done if done == key]
                expected = [message for posted, message in taken if posted == key]
                if key in office.parked:
                    assert _is_subsequence(received, expected)
                else:
                    assert received == expected

    _in_virtual_time(follow)


def _in_virtual_time(follow: Callable[[], Awaitable[None]]) -> None:
    trio.run(follow, clock=MockClock(autojump_threshold=0))


def _is_subsequence(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(item in rest for item in part)


async def _park(office: Office, key: int) -> None:
    for _ in range(INTENSITY.restarts_max + 1):
        office.registry.post(key, "crash")
    await trio.sleep(20)
