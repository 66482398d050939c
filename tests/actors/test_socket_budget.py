"""Seats for sockets: who gets one, and who gives way."""

import pytest
import trio
from attrs import define
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.conversation.socket_budget import (
    RAISE_EVERY_S,
    RAISES,
    YIELD_TIMEOUT_S,
    NoSeatError,
    SocketBudget,
)


@define(eq=False)
class Holder:
    """A socket that closes `close_s` after it was asked to."""

    budget: SocketBudget
    nursery: trio.Nursery
    idle_since: float | None = None
    close_s: float = 1.0
    was_asked: int = 0

    def give_way(self) -> None:
        self.was_asked += 1
        self.idle_since = None
        self.nursery.start_soon(self._close)

    async def _close(self) -> None:
        await trio.sleep(self.close_s)
        self.budget.leave(self)


async def seated(
    nursery: trio.Nursery, budget: SocketBudget, *idle_since: float | None, close_s: float = 1.0
) -> list[Holder]:
    """Holders that sit already."""
    holders = [Holder(budget, nursery, since, close_s) for since in idle_since]
    for holder in holders:
        await budget.take(holder)
    return holders


async def test_there_are_as_many_seats_as_the_limit_says(autojump_clock: MockClock) -> None:
    budget = SocketBudget(2)
    async with trio.open_nursery() as nursery:
        first, _second = await seated(nursery, budget, None, None)
        assert len(budget) == 2
        assert budget.is_exhausted

        budget.leave(first)
        assert len(budget) == 1
        assert not budget.is_exhausted


async def test_without_anybody_idle_there_is_no_seat_after_a_while(autojump_clock: MockClock) -> None:
    budget = SocketBudget(1)
    async with trio.open_nursery() as nursery:
        (busy,) = await seated(nursery, budget, None)
        with pytest.raises(NoSeatError):
            await budget.take(Holder(budget, nursery))

        assert trio.current_time() == YIELD_TIMEOUT_S
        assert busy.was_asked == 0
        assert len(budget) == 1


async def test_the_longest_idle_gives_way(autojump_clock: MockClock) -> None:
    budget = SocketBudget(3)
    async with trio.open_nursery() as nursery:
        holders = await seated(nursery, budget, 7.0, 3.0, None)
        await budget.take(Holder(budget, nursery))

        assert [holder.was_asked for holder in holders] == [0, 1, 0]
        assert trio.current_time() == 1
        assert len(budget) == 3


async def test_who_takes_too_long_to_give_way_costs_the_other_the_seat(autojump_clock: MockClock) -> None:
    budget = SocketBudget(1)
    async with trio.open_nursery() as nursery:
        await seated(nursery, budget, 0.0, close_s=YIELD_TIMEOUT_S + 1)
        with pytest.raises(NoSeatError):
            await budget.take(Holder(budget, nursery))


async def test_a_seat_that_somebody_leaves_by_themselves_is_taken(autojump_clock: MockClock) -> None:
    budget = SocketBudget(1)
    async with trio.open_nursery() as nursery:
        (holder,) = await seated(nursery, budget, None)
        nursery.start_soon(_leave_after, holder, 2.0)
        await budget.take(Holder(budget, nursery))

        assert trio.current_time() == 2


async def test_as_many_give_way_as_wait_and_no_more(autojump_clock: MockClock) -> None:
    budget = SocketBudget(5)
    async with trio.open_nursery() as nursery:
        holders = await seated(nursery, budget, 0.0, 1.0, 2.0, 3.0, 4.0)
        for close_s, holder in zip((1.0, 2.0, 1.0, 1.0, 1.0), holders, strict=True):
            holder.close_s = close_s
        async with trio.open_nursery() as waiting:
            waiting.start_soon(budget.take, Holder(budget, nursery))
            waiting.start_soon(budget.take, Holder(budget, nursery))

        assert [holder.was_asked for holder in holders] == [1, 1, 0, 0, 0]
        assert trio.current_time() == 2
        assert len(budget) == 5


async def test_a_seat_that_was_snatched_away_is_made_up_for(autojump_clock: MockClock) -> None:
    budget = SocketBudget(2)
    async with trio.open_nursery() as nursery:
        holders = await seated(nursery, budget, 0.0, 1.0)
        async with trio.open_nursery() as waiting:
            waiting.start_soon(budget.take, Holder(budget, nursery))
            await wait_all_tasks_blocked()
            budget.leave(holders[0])
            await budget.take(Holder(budget, nursery))  # does not wait, so it is first

        assert [holder.was_asked for holder in holders] == [1, 1]
        assert len(budget) == 2


async def test_who_waits_gets_the_seat_of_whoever_becomes_idle_meanwhile(autojump_clock: MockClock) -> None:
    budget = SocketBudget(2)
    async with trio.open_nursery() as nursery:
        first, second = await seated(nursery, budget, None, None)
        async with trio.open_nursery() as waiting:
            waiting.start_soon(budget.take, Holder(budget, nursery))
            await trio.sleep(2)
            for holder in (first, second):
                holder.idle_since = trio.current_time()
                budget.fell_idle()

        assert trio.current_time() == 3
        assert [first.was_asked, second.was_asked] == [1, 0]


async def test_who_becomes_idle_stays_when_nobody_waits(autojump_clock: MockClock) -> None:
    budget = SocketBudget(1)
    async with trio.open_nursery() as nursery:
        (holder,) = await seated(nursery, budget, 0.0)
        budget.fell_idle()

        assert holder.was_asked == 0


async def test_a_wait_that_was_cancelled_takes_no_seat(autojump_clock: MockClock) -> None:
    budget = SocketBudget(1)
    async with trio.open_nursery() as nursery:
        (holder,) = await seated(nursery, budget, None)
        with trio.move_on_after(1):
            await budget.take(Holder(budget, nursery))
        budget.leave(holder)
        await trio.sleep(10)

        assert len(budget) == 0


async def test_what_nobody_needs_yet_makes_nobody_give_way(autojump_clock: MockClock) -> None:
    budget = SocketBudget(1)
    async with trio.open_nursery() as nursery:
        (idle,) = await seated(nursery, budget, 0.0)
        with pytest.raises(NoSeatError):
            await budget.take(Holder(budget, nursery), is_ahead=True)

        assert idle.was_asked == 0


async def test_who_needs_a_seat_comes_before_who_does_not_yet(autojump_clock: MockClock) -> None:
    budget, seated_at = SocketBudget(1), dict[bool, float]()

    async def sit(*, is_ahead: bool) -> None:
        holder = Holder(budget, nursery)
        await budget.take(holder, is_ahead=is_ahead)
        seated_at[is_ahead] = trio.current_time()
        nursery.start_soon(_leave_after, holder, 1.0)

    async with trio.open_nursery() as nursery:
        (busy,) = await seated(nursery, budget, None)
        nursery.start_soon(_leave_after, busy, 1.0)
        nursery.start_soon(lambda: sit(is_ahead=True))
        await wait_all_tasks_blocked()
        nursery.start_soon(lambda: sit(is_ahead=False))

    assert seated_at == {False: 1, True: 2}


async def test_a_lowered_limit_is_raised_step_by_step(autojump_clock: MockClock) -> None:
    budget = SocketBudget(40)
    async with trio.open_nursery() as nursery:
        await seated(nursery, budget, *[None] * 11)
        budget.lower()
        limits = []
        for _ in range(4):
            limits.append(budget.limit)
            await trio.sleep(RAISE_EVERY_S)
        assert limits == [10, 12, 14, 16]
        assert budget.is_lowered

        await trio.sleep(RAISE_EVERY_S * RAISES)
        assert budget.limit == 40
        assert not budget.is_lowered


async def test_a_limit_is_never_lowered_to_nothing() -> None:
    budget = SocketBudget(10)
    budget.lower()
    assert budget.limit == 1


async def test_leaving_without_a_seat_does_nothing() -> None:
    budget = SocketBudget(1)
    async with trio.open_nursery() as nursery:
        budget.leave(Holder(budget, nursery))

        assert len(budget) == 0


async def _leave_after(holder: Holder, seconds: float) -> None:
    await trio.sleep(seconds)
    holder.budget.leave(holder)
