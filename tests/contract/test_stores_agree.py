"""The stores in memory and on PostgreSQL, taken through the same random lives: they must agree at every step.

The suites beside this one say what is right; this one finds the steps nobody thought of. It is what makes tests of
actors in memory tell anything of the daemon on PostgreSQL.
"""

from collections.abc import Awaitable, Collection
from datetime import timedelta
from functools import partial
from typing import TypeVar, cast

import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from actors.calls import (
    CallDetails,
    CallSighting,
    FollowUpState,
    SeenCall,
)
from actors.messages import DeliveryStatus, Outgoing, StatusReport, Template
from actors.ports import Answer, Opening, Received, Work
from daemon.store.pool import Pool
from tests.contract.arbitrary import (
    CALL_IDS,
    batch_of,
    call_ids,
    details,
    ends,
    moments,
    names,
    origins,
    people,
    pieces,
    reports,
    sighting_of,
    sightings,
    templates,
    which,
)
from tests.contract.stores import (
    ANA,
    NOW,
    TEXT_AGENT,
    Stores,
    inbound,
    stores_in_memory,
)
from tests.contract.twins import Ask, Twins
from tests.memory.database import MemoryDatabase
from tests.postgres import EMPTIED

T = TypeVar("T")


class StoresAgree(RuleBasedStateMachine):
    """`step` numbers everything that has to be unique."""

    def __init__(self, twins: Twins) -> None:
        super().__init__()
        self.twins = twins
        self.step = 0
        self.now = NOW
        self.sids: list[str] = []
        self.people: list[int] = []
        self.conversations: list[int] = []
        self.work: list[Work] = []
        self.outgoing: list[Outgoing] = []

    def ask(self, ask: Ask[T], kind: str = "") -> T:
        self.step += 1
        self.now += timedelta(seconds=1)
        return self.twins.ask(ask, kind)

    def person(self, chosen: int) -> int:
        return self.people[chosen % len(self.people)]

    def conversation(self, chosen: int) -> int:
        return self.conversations[chosen % len(self.conversations)]

    def message(self, chosen: int) -> Outgoing:
        return self.outgoing[chosen % len(self.outgoing)]

    def met(self, person_id: int | None, conversation_id: int | None = None) -> None:
        if person_id is not None and person_id not in self.people:
            self.people.append(person_id)
        if conversation_id is not None and conversation_id not in self.conversations:
            self.conversations.append(conversation_id)

    # --- Inbox ---

    @initialize(whose=st.lists(people, min_size=1, max_size=4))
    def begin(self, whose: list[tuple[str, ...]]) -> None:
        for who in whose:
            self.receive_one(who, "Ana", None)

    @rule(who=people, name=names, repeated=st.none() | which, times=st.integers(1, 2))
    def receive(self, who: tuple[str, ...], name: str | None, repeated: int | None, times: int) -> None:
        for _ in range(times):
            self.receive_one(who, name, repeated)

    def receive_one(self, who: tuple[str, ...], name: str | None, repeated: int | None) -> None:
        sid = f"SM-in-{self.step}"
        if repeated is not None and self.sids:
            sid = self.sids[repeated % len(self.sids)]
        message = inbound(
            sid,
            address=who[-1],
            identities=who,
            phone_number=who[-1] if who[-1].startswith("+") else None,
            profile_name=name,
        )
        received: Received = self.ask(
            lambda side: side.stores.inbox.receive(message, default_agent_id=TEXT_AGENT, now=self.now)
        )
        assert received.is_new == (sid not in self.sids)
        self.sids.append(sid)
        self.met(received.person_id, received.conversation_id)

    def look_for_known(self) -> None:
        asked = [*self.sids, *(f"SM-out-{message.id}" for message in self.outgoing), "SM-none"]
        self.ask(lambda side: _sorted(side.stores.inbox.known(asked)))
        self.ask(lambda side: _sorted(side.stores.outbox.known_sids(asked)))
        self.ask(lambda side: side.stores.inbox.newest_message_at())

    # --- Calls ---

    @rule(calls=st.lists(sightings, max_size=3))
    def see(self, calls: list[SeenCall]) -> None:
        self.ask(lambda side: side.stores.calls.see(calls, now=self.now))

    @rule(found=details, who=people | st.just(()), wanted=st.sampled_from(FollowUpState), name=names)
    def save_details(
        self, found: CallDetails, who: tuple[str, ...], wanted: FollowUpState, name: str | None
    ) -> None:
        if wanted not in {FollowUpState.AWAITING_DETAILS, FollowUpState.NONE}:
            wanted = FollowUpState.DUE if who else FollowUpState.NONE
        self.ask(lambda side: side.stores.calls.see([sighting_of(found)], now=self.now))
        person_id = self.ask(
            lambda side: side.stores.calls.save_details(
                found, client_name=name, identities=who, follow_up=wanted, agent_id=TEXT_AGENT
            ),
            "person",
        )
        self.met(person_id)

    @rule(call_id=call_ids, wait=moments, how=st.sampled_from(["postpone", "give up", "drop"]))
    def put_off(self, call_id: str, wait: timedelta, how: str) -> None:
        self.see_call(call_id)
        if how == "postpone":
            self.ask(lambda side: side.stores.calls.postpone(call_id, until=self.now + wait))
        elif how == "give up":
            self.ask(lambda side: side.stores.calls.give_up(call_id, reason="unknown"))
        else:
            self.ask(lambda side: side.stores.conversations.drop_opening(call_id, reason="nobody"))

    @rule(
        batch_id=st.sampled_from(["1", "2"]),
        recipients=st.lists(origins, max_size=3),
        is_settled=st.booleans(),
    )
    def save_batch(self, batch_id: str, recipients: list[str | None], is_settled: bool) -> None:  # noqa: FBT001
        batch = batch_of(batch_id, recipients, updated_at=self.now)
        self.ask(lambda side: side.stores.calls.save_batch(batch, is_settled=is_settled))
        self.ask(lambda side: side.stores.calls.settled_batches())

    # --- Conversations ---

    @precondition(lambda self: self.people)
    @rule(chosen=which, messages_max=st.integers(0, 5))
    def context(self, chosen: int, messages_max: int) -> None:
        person_id = self.person(chosen)
        self.ask(
            lambda side: side.stores.conversations.context(side.person(person_id), messages_max=messages_max)
        )

    @precondition(lambda self: self.conversations)
    @rule(chosen=which, call_id=call_ids, template=templates, note=st.sampled_from([None, "without agent"]))
    def queue_opening(self, chosen: int, call_id: str, template: Template | None, note: str | None) -> None:
        self.see_call(call_id)
        conversation_id = self.conversation(chosen)
        self.ask(
            lambda side: side.stores.conversations.queue_opening(
                Opening(
                    call_id=call_id,
                    conversation_id=side.conversation(conversation_id),
                    address=ANA,
                    text="Hola, Ana.",
                    template=template,
                    note=note,
                ),
                now=self.now,
            )
        )

    def see_call(self, call_id: str) -> None:
        call = SeenCall(id=call_id, sighting=CallSighting.CONVERSATIONS)
        self.ask(lambda side: side.stores.calls.see([call], now=self.now))

    @precondition(lambda self: any(work.pending for work in self.work))
    @rule(
        chosen=which,
        picked=st.sets(which, min_size=1, max_size=3),
        texts=pieces,
        template=templates,
        elsewhere=st.none() | which,
    )
    def answer(
        self,
        chosen: int,
        picked: set[int],
        texts: list[str],
        template: Template | None,
        elsewhere: int | None,
    ) -> None:
        waiting = [work for work in self.work if work.pending]
        work = waiting[chosen % len(waiting)]
        ids = sorted({work.pending[pick % len(work.pending)].id for pick in picked})
        conversation_id = work.conversation_id
        if elsewhere is not None or conversation_id is None:
            conversation_id = self.conversation(elsewhere or 0)
        for _ in range(2):  # the second answer comes too late
            self.ask(
                lambda side: side.stores.conversations.answer(
                    side.conversation(conversation_id),
                    [side.message(message_id) for message_id in ids],
                    Answer(address=ANA, pieces=texts, template=template),
                    now=self.now,
                )
            )

    @precondition(lambda self: self.conversations)
    @rule(chosen=which, texts=pieces, template=templates)
    def add_answer(self, chosen: int, texts: list[str], template: Template | None) -> None:
        conversation_id = self.conversation(chosen)
        added = Answer(address=ANA, pieces=texts, template=template)
        self.ask(
            lambda side: side.stores.conversations.add_answer(
                side.conversation(conversation_id), added, now=self.now
            )
        )

    @precondition(lambda self: self.conversations)
    @rule(chosen=which, texts=pieces, wait=moments)
    def defer_turn(self, chosen: int, texts: list[str], wait: timedelta) -> None:
        conversation_id = self.conversation(chosen)
        fallback = Answer(address=ANA, pieces=texts)
        self.ask(
            lambda side: side.stores.conversations.defer_turn(
                side.conversation(conversation_id), fallback, retry_at=self.now + wait, now=self.now
            )
        )

    @precondition(lambda self: self.conversations)
    @rule(chosen=which)
    def close(self, chosen: int) -> None:
        conversation_id = self.conversation(chosen)
        self.ask(
            lambda side: side.stores.conversations.close(side.conversation(conversation_id), now=self.now)
        )

    # --- Outbox ---

    @precondition(lambda self: self.people)
    @rule(chosen=which, later=moments, end=ends)
    def send(self, chosen: int, later: timedelta, end: str) -> None:
        person_id = self.person(chosen)
        message = self.ask(
            lambda side: side.stores.outbox.claim(side.person(person_id), now=self.now + later)
        )
        if message is not None:
            self.outgoing.append(message)
            self.end(message.id, end)

    @precondition(lambda self: self.outgoing)
    @rule(chosen=which, end=ends)
    def settle(self, chosen: int, end: str) -> None:
        self.end(self.message(chosen).id, end)

    def end(self, message_id: int, end: str) -> None:
        if end.startswith("accepted"):
            sid = f"SM-out-{message_id}{end.removeprefix('accepted')}"
            self.ask(
                lambda side: side.stores.outbox.accepted(side.message(message_id), sid=sid, now=self.now)
            )
        elif end == "refused":
            self.ask(
                lambda side: side.stores.outbox.refused(
                    side.message(message_id), code=21211, detail="nobody there", now=self.now
                )
            )
        elif end == "released":
            self.ask(
                lambda side: side.stores.outbox.release(
                    side.message(message_id), not_before=self.now + timedelta(seconds=5)
                )
            )

    @precondition(lambda self: self.outgoing)
    @rule(chosen=which, told=st.lists(reports, min_size=1, max_size=4))
    def report(self, chosen: int, told: list[tuple[DeliveryStatus | None, int | None, str, bool]]) -> None:
        message_id = self.message(chosen).id
        for status, code, copy, knows_message in [*told, told[-1]]:
            self.report_one(
                message_id, status, code, f"SM-out-{message_id}{copy}", knows_message=knows_message
            )

    def report_one(
        self,
        message_id: int,
        status: DeliveryStatus | None,
        code: int | None,
        sid: str,
        *,
        knows_message: bool,
    ) -> None:
        self.ask(
            lambda side: side.stores.outbox.report(
                StatusReport(
                    message_id=side.message(message_id) if knows_message else None,
                    sid=sid,
                    status=status,
                    error_code=code,
                ),
                now=self.now,
            )
        )

    @rule(after=which, limit=st.integers(1, 3))
    def readmit(self, after: int, limit: int) -> None:
        known = self.people[after % len(self.people)] if self.people and after else 0
        self.ask(
            lambda side: side.stores.recovery.readmit(
                TEXT_AGENT, after=side.person(known) if known else 0, limit=limit
            ),
            "person",
        )
        self.ask(lambda side: side.stores.recovery.people_unanswered())

    # --- What everybody can see ---

    @invariant()
    def lanes_are_the_same(self) -> None:
        lanes = self.ask(lambda side: side.stores.outbox.lanes(limit=10, exclude=()))
        for lane in lanes:
            self.met(lane.person_id)

    @invariant()
    def work_is_the_same(self) -> None:
        self.work.clear()
        self.ask(
            lambda side: side.stores.recovery.people_with_work(now=self.now, after=0, limit=10), "person"
        )
        for person_id in self.people:
            self.compare_work(person_id)

    @override
    def teardown(self) -> None:
        self.look_for_known()
        for person_id in self.people:
            self.compare_person(person_id)
        for conversation_id in self.conversations:
            self.compare_conversation(conversation_id)
        for message in self.outgoing:
            self.compare_message(message.id)
        for call_id in CALL_IDS:
            self.compare_call(call_id)
        tomorrow = self.now + timedelta(days=1)
        self.ask(lambda side: side.stores.calls.awaiting_details(now=tomorrow, limit=10))

    def compare_work(self, person_id: int) -> None:
        work = self.ask(lambda side: side.stores.conversations.work(side.person(person_id)))
        self.met(person_id, work.conversation_id)
        self.work.append(work)

    def compare_person(self, person_id: int) -> None:
        self.ask(lambda side: side.stores.outbox.in_doubt(side.person(person_id)))
        self.ask(lambda side: side.stores.conversations.context(side.person(person_id), messages_max=50))

    def compare_conversation(self, conversation_id: int) -> None:
        self.ask(lambda side: side.stores.peek.conversation_status(side.conversation(conversation_id)))

    def compare_message(self, message_id: int) -> None:
        self.ask(lambda side: side.stores.peek.message(side.message(message_id)))

    def compare_call(self, call_id: str) -> None:
        self.see_call(call_id)
        self.ask(lambda side: side.stores.calls.awaited(call_id))
        self.ask(lambda side: side.stores.peek.call(call_id))
        self.ask(lambda side: side.stores.peek.origin(call_id))


async def _sorted(found: Awaitable[Collection[str]]) -> list[str]:
    return sorted(await found)


async def live_random_lives(machine: type[StoresAgree], pool: Pool, stores: Stores, *, steps: int) -> None:
    """Take the stores in memory and these, emptied for each life, through random lives of so many steps."""

    def fresh() -> StoresAgree:
        trio.from_thread.run(pool.execute, EMPTIED)
        return machine(Twins(stores_in_memory(MemoryDatabase()), stores))

    lives = settings(
        max_examples=settings().max_examples // 2,
        stateful_step_count=steps,
        # An example goes through a real database.
        suppress_health_check=[HealthCheck.too_slow],
        report_multiple_bugs=False,
    )
    # A factory will do, though the annotation wants a class.
    run = partial(run_state_machine_as_test, cast("type[RuleBasedStateMachine]", fresh), settings=lives)
    await trio.to_thread.run_sync(run)


async def test_they_agree_at_every_step(store_pool: Pool, postgres_stores: Stores) -> None:
    await live_random_lives(StoresAgree, store_pool, postgres_stores, steps=30)
