"""The gate lets in who is awaited first, each class in its order, and nobody's turn gets lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.alerts import Alerts
from actors.watch.sending_gate import SendingGate
from actors.watch.sending_limits import Extent, GateRules, Urgency
from tests.memory.clock import VirtualClock

AWAITED, UNAWAITED = Urgency.AWAITED, Urgency.UNAWAITED
RULES = GateRules(messages_per_second=80, concurrency=4, pause_first_s=1, pause_max_s=60)


class Crowd:
    """People at the gate. `times`: when each was let in; `order`: who, one after the other."""

    def __init__(self, nursery: trio.Nursery, gate: SendingGate, alerts: Alerts) -> None:
        self.nursery = nursery
        self.gate = gate
        self.alerts = alerts
        self.times: dict[int, float] = {}
        self.scopes: dict[int, trio.CancelScope] = {}

    @property
    def order(self) -> list[int]:
        return list(self.times)

    async def come(self, *people: int, urgency: Urgency = AWAITED, **options: Any) -> None:
        for person_id in people:
            self.nursery.start_soon(partial(self._pass, person_id, urgency, **options))
            await wait_all_tasks_blocked()

    async def _pass(self, person_id: int, urgency: Urgency, *, stay_s: float = 0, uses: bool = True) -> None:
        with trio.CancelScope() as self.scopes[person_id]:
            async with self.gate.permit(person_id, urgency) as permit:
                self.times[person_id] = trio.current_time()
                permit.is_used = uses
                await trio.sleep(stay_s)


@asynccontextmanager
async def at_the_gate(**rules: Any) -> AsyncIterator[Crowd]:
    alerts = Alerts(VirtualClock())
    gate = SendingGate(evolve(RULES, **rules), alerts)
    with trio.fail_after(1e6):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.run)
            yield Crowd(nursery, gate, alerts)
            nursery.cancel_scope.cancel()


async def test_below_the_limit_everybody_comes_in_at_once(autojump_clock: MockClock) -> None:
    async with at_the_gate() as crowd:
        await crowd.come(*range(80))
        assert set(crowd.times.values()) == {0}

        await crowd.come(80)
        await trio.sleep(2)
        assert crowd.times[80] == pytest.approx(1)


async def test_each_class_keeps_its_order_and_the_awaited_go_first(autojump_clock: MockClock) -> None:
    async with at_the_gate(messages_per_second=1) as crowd:
        await crowd.come(0)
        await crowd.come(1, 2, urgency=UNAWAITED)
        await crowd.come(3, 4)
        await trio.sleep(10)

        assert crowd.order == [0, 3, 4, 1, 2]


async def test_openings_that_wait_for_the_rate_hold_no_place(autojump_clock: MockClock) -> None:
    async with at_the_gate(messages_per_second=1) as crowd:
        await crowd.come(*range(20), urgency=UNAWAITED)
        await crowd.come(20)
        await trio.sleep(1.5)

        assert crowd.order == [0, 20]


async def test_an_opening_that_becomes_urgent_goes_with_the_awaited(autojump_clock: MockClock) -> None:
    async with at_the_gate(messages_per_second=1) as crowd:
        await crowd.come(0)
        await crowd.come(1, 2, 3, urgency=UNAWAITED)
        await crowd.come(4)
        crowd.gate.hurry(3)
        crowd.gate.hurry(99)
        await trio.sleep(10)

        assert crowd.order == [0, 4, 3, 1, 2]


async def test_who_is_cancelled_while_waiting_passes_the_turn_on(autojump_clock: MockClock) -> None:
    async with at_the_gate(messages_per_second=1) as crowd:
        await crowd.come(0, 1, 2)
        crowd.scopes[1].cancel()
        await trio.sleep(5)

        assert crowd.times == {0: 0, 2: 1}


async def test_who_is_cancelled_when_just_let_in_passes_the_turn_on(autojump_clock: MockClock) -> None:
    async with at_the_gate(messages_per_second=1, concurrency=1) as crowd:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with crowd.gate.permit(1, AWAITED):
                pytest.fail("somebody who was cancelled came in")
        await crowd.come(2)

        assert crowd.times == {2: 0}


async def test_a_permit_that_nothing_was_sent_with_costs_no_slot(autojump_clock: MockClock) -> None:
    async with at_the_gate(messages_per_second=1) as crowd:
        await crowd.come(1, uses=False)
        await crowd.come(2)

        assert crowd.times == {1: 0, 2: 0}


async def test_no_more_are_under_way_than_allowed(autojump_clock: MockClock) -> None:
    async with at_the_gate(concurrency=2) as crowd:
        await crowd.come(*range(6), stay_s=3)
        await trio.sleep(20)

        assert list(crowd.times.values()) == [0, 0, 3, 3, 6, 6]


async def test_a_pause_holds_those_who_wait_already_and_is_an_alert_until_somebody_is_accepted(
    autojump_clock: MockClock,
) -> None:
    async with at_the_gate(messages_per_second=1) as crowd:
        async with crowd.gate.permit(0, AWAITED) as permit:
            permit.is_used = True
            await crowd.come(1, 2)
            await trio.sleep(0.5)
            crowd.gate.turned_away(permit, Extent.EVERYBODY, reason="20429", asked_s=10)
        assert [alert.key for alert in crowd.alerts.standing] == ["sending_throttled"]
        await trio.sleep(60)
        assert crowd.times == {1: 10.5, 2: pytest.approx(12.5)}

        async with crowd.gate.permit(3, AWAITED) as permit:
            crowd.gate.accepted(permit, permit.urgency)
        assert crowd.alerts.standing == []


async def test_a_short_pause_is_no_alert(autojump_clock: MockClock) -> None:
    async with at_the_gate() as crowd, crowd.gate.permit(0, AWAITED) as permit:
        crowd.gate.turned_away(permit, Extent.EVERYBODY, reason="20429", asked_s=0)

        assert crowd.alerts.standing == []


async def test_an_accepted_answer_does_not_settle_that_openings_are_not_taken(
    autojump_clock: MockClock,
) -> None:
    async with at_the_gate() as crowd:
        async with crowd.gate.permit(0, UNAWAITED) as permit:
            crowd.gate.turned_away(permit, Extent.OPENINGS, reason="63018", asked_s=20)
        async with crowd.gate.permit(1, AWAITED) as permit:
            crowd.gate.accepted(permit, permit.urgency)
        assert [alert.key for alert in crowd.alerts.standing] == ["openings_throttled"]

        async with crowd.gate.permit(2, UNAWAITED) as permit:
            assert trio.current_time() == 20
            crowd.gate.accepted(permit, permit.urgency)
        assert crowd.alerts.standing == []
