"""A world for actors in virtual time: stores in memory, a scripted agent, Twilio in memory, and people who write."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import trio
from attrs import Factory, define, evolve, field
from trio.testing import wait_all_tasks_blocked

from actors.alerts import Alerts
from actors.calls import CallAnalysis, CallDetails, CallOutcome, CallSighting, FollowUpState, SeenCall
from actors.conversation.actor import ConversationActor
from actors.conversation.agent_access import AccessRules, AgentAccess
from actors.conversation.mail import ConversationMessage, MessageArrived, Nudge
from actors.conversation.socket_budget import SocketBudget
from actors.conversation.texts import Texts, TextSources
from actors.conversation.turn import CoalescingRules
from actors.conversation.turn_in_flight import TurnRules
from actors.conversation.world import ConversationRules, ConversationWorld
from actors.messages import InboundMessage, Purpose
from actors.metrics import Metrics, NoMetrics
from actors.ports import ConversationStore, OutboxStore
from actors.runtime.mailbox import Mailbox
from actors.runtime.registry import Registry
from actors.runtime.supervisor import ChildSpec, RestartIntensity, RestartPolicy, RunChild, Supervisor
from actors.watch.outbox import Outbox, OutboxRules
from actors.watch.readmission import Readmission
from actors.watch.recovery import Recovery
from tests.memory.agent import MemoryAgent
from tests.memory.calls import MemoryCalls
from tests.memory.clock import VirtualClock
from tests.memory.conversations import MemoryConversations
from tests.memory.database import Conversation, InboundStatus, MemoryDatabase, Outbound
from tests.memory.inbox import MemoryInbox
from tests.memory.messaging import MemoryMessaging
from tests.memory.outbox import MemoryOutbox
from tests.memory.recovery import MemoryRecovery

NEVER_S = 1e7
"""Virtual time in which a test that hangs is failed."""

RULES = ConversationRules(
    turn=TurnRules(reply_timeout_s=60, settle_s=1, attempts_max=4, retry_first_s=1, retry_max_s=60),
    coalescing=CoalescingRules(quiet_s=1, max_s=8),
    opens_socket_at_call_end=True,
    idle_close_s=1800,
    retire_after_s=60,
    failed_turn_retry_s=60,
    failed_turn_retry_max_s=3600,
    history_messages=20,
    turn_text_max=8000,
    template_sids={},
)
ACCESS_RULES = AccessRules(connects_per_second=10, refused_retry_first_s=30, refused_retry_max_s=600)
OUTBOX_RULES = OutboxRules(
    messages_per_second=80,
    concurrency=4,
    person_burst=10,
    person_every_s=6,
    sweep_every_s=2,
    look_up_after_s=5,
    certain_after_s=20,
    retry_first_s=1,
    retry_max_s=300,
    give_up_after_s=86_400,
)
TEXTS = TextSources(
    opening="Hola, {{ name }}: {{ summary }}",
    opening_without_summary="Hola, {{ name }}.",
    fallback="Un momento, por favor.",
    follow_ups={CallOutcome.VOICEMAIL: "Le dejamos un mensaje, {{ name }}."},
    opening_variables={"1": "{{ name }}"},
    reopen_variables={"1": "{{ name }}"},
)
COMPILED = Texts(TEXTS)


@define(eq=False)
class World:
    """One daemon's worth of actors and everything around them.

    Attributes:
        store, outbox_store: what conversations and the outbox see of the database.
        told_outbox: whom the outbox was told of.
    """

    nursery: trio.Nursery
    rules: ConversationRules = RULES
    outbox_rules: OutboxRules = OUTBOX_RULES
    outbox_metrics: Metrics = Factory(NoMetrics)
    access_rules: AccessRules = ACCESS_RULES
    texts: TextSources = TEXTS
    sockets_max: int = 500
    has_outbox: bool = True
    jitter: float = 0.0
    intensity: RestartIntensity = Factory(RestartIntensity)
    clock: VirtualClock = Factory(VirtualClock)
    database: MemoryDatabase = Factory(MemoryDatabase)
    messaging: MemoryMessaging = Factory(lambda world: MemoryMessaging(world.clock), takes_self=True)
    agent: MemoryAgent = Factory(MemoryAgent)
    told_outbox: list[int] = field(factory=list, init=False)
    store: ConversationStore = field(init=False)
    outbox_store: "FaultyStore" = field(init=False)
    alerts: Alerts = field(init=False)
    budget: SocketBudget = field(init=False)
    access: AgentAccess = field(init=False)
    supervisor: Supervisor = field(init=False)
    outbox: Outbox = field(init=False)
    conversations: Registry[ConversationMessage] = field(init=False)
    parked: list[int] = field(factory=list, init=False)
    began_at: float = field(factory=trio.current_time, init=False)

    def __attrs_post_init__(self) -> None:
        self.store = MemoryConversations(self.database)
        self.outbox_store = FaultyStore(MemoryOutbox(self.database))
        self.alerts = Alerts(self.clock)
        self.budget = SocketBudget(self.sockets_max)
        self.access = AgentAccess(self.access_rules, budget=self.budget, alerts=self.alerts)
        self.supervisor = Supervisor(metrics=NoMetrics())
        self.outbox = Outbox(
            store=cast("OutboxStore", self.outbox_store),
            messaging=self.messaging,
            rules=self.outbox_rules,
            clock=self.clock,
            alerts=self.alerts,
            metrics=self.outbox_metrics,
        )
        self.conversations = Registry(
            self.supervisor,
            self._make_run,
            kind="conversation",
            mailbox_size=64,
            intensity=self.intensity,
            park_s=300,
            on_parked=self.parked.append,
        )

    def _make_run(self, person_id: int, mailbox: Mailbox[ConversationMessage]) -> RunChild:
        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            actor = ConversationActor(person_id, mailbox, world=self._seen_by_actors(), rules=self.rules)
            await actor.run(task_status=task_status)

        return run

    def _seen_by_actors(self) -> ConversationWorld:
        return ConversationWorld(
            sessions=self.agent,
            access=self.access,
            store=self.store,
            messaging=self.messaging,
            outbox_due=self._outbox_due,
            texts=COMPILED if self.texts is TEXTS else Texts(self.texts),
            alerts=self.alerts,
            metrics=NoMetrics(),
            clock=self.clock,
            jitter=lambda: self.jitter,
        )

    def _outbox_due(self, person_id: int, purpose: Purpose) -> None:
        self.told_outbox.append(person_id)
        self.outbox.due(person_id, purpose)

    async def start(self) -> None:
        await self.nursery.start(self.supervisor.run)
        if self.has_outbox:
            await self.start_outbox()

    async def start_outbox(self) -> None:
        await self._watch("outbox", self.outbox.run)

    async def start_recovery(self, every_s: float = 15) -> None:
        recovery = Recovery(
            store=MemoryRecovery(self.database),
            conversations=self.conversations,
            clock=self.clock,
            alerts=self.alerts,
            every_s=every_s,
            is_crowded=lambda: self.access.is_crowded,
        )
        await self._watch("recovery", recovery.run)

    async def start_readmission(self) -> None:
        readmission = Readmission(
            access=self.access,
            store=MemoryRecovery(self.database),
            conversations=self.conversations,
            page_size=10,
        )
        await self._watch("readmission", readmission.run)

    async def _watch(self, name: str, run: RunChild) -> None:
        await self.supervisor.start(ChildSpec(name=name, run=run, policy=RestartPolicy.PERMANENT, kind=name))

    # --- people, as the webhooks know them ---

    async def writes(self, *texts: str, who: str = "+525512345678", is_told: bool = True) -> int:
        """Somebody writes; returns the person's id. Without `is_told` the nudges get lost."""
        person_id = 0
        for text in texts:
            sid = f"SM-in-{len(self.database.inbound) + 1}"
            message = InboundMessage(
                sid=sid,
                address=who,
                identities=[who],
                phone_number=who,
                profile_name="Ana",
                kind="text",
                text=text,
                fields={},
            )
            received = await MemoryInbox(self.database).receive(
                message, default_agent_id="agent_text", now=self.clock.now()
            )
            person_id = received.person_id
            if is_told:
                self.conversations.post(person_id, MessageArrived(sid))
        return person_id

    async def call_ends(
        self,
        call_id: str = "conv_1",
        *,
        who: str = "+525512345678",
        outcome: CallOutcome = CallOutcome.COMPLETED,
        summary: str = "quiere el plan anual.",
        is_told: bool = True,
    ) -> int:
        """A call has ended and its opening is due; returns the person's id."""
        calls = MemoryCalls(self.database)
        seen = SeenCall(id=call_id, sighting=CallSighting.WEBHOOK, agent_id="agent_voice")
        await calls.see([seen], now=self.clock.now())
        details = CallDetails(
            id=call_id,
            agent_id="agent_voice",
            is_over=True,
            outcome=outcome,
            phone_number=who,
            direction="outbound",
            started_at=self.clock.now() - timedelta(seconds=90),
            duration_s=90,
            analysis=CallAnalysis(summary=summary),
        )
        person_id = await calls.save_details(
            details,
            client_name="Ana",
            identities=[who],
            follow_up=FollowUpState.DUE,
            agent_id="agent_text",
        )
        assert person_id is not None
        if is_told:
            self.conversations.post(person_id, Nudge.LOOK)
        return person_id

    # --- what came of it ---

    @property
    def sent(self) -> list[str]:
        """What everybody was sent, in the order of the outbox."""
        return [message.text for message in self.database.outbound.values()]

    @property
    def outbound(self) -> list[Outbound]:
        return list(self.database.outbound.values())

    @property
    def unanswered(self) -> list[str]:
        received = InboundStatus.RECEIVED
        return [message.text for message in self.database.inbound.values() if message.status is received]

    @property
    def conversation(self) -> Conversation:
        """The newest conversation."""
        return list(self.database.conversations.values())[-1]

    def follow_up(self, call_id: str = "conv_1") -> FollowUpState:
        return self.database.calls[call_id].follow_up

    @property
    def alert_keys(self) -> list[str]:
        return [alert.key for alert in self.alerts.standing]


@asynccontextmanager
async def open_world(
    *, setup: Callable[[World], None] | None = None, rules: ConversationRules = RULES, **options: Any
) -> AsyncIterator[World]:
    """A world whose supervisor and outbox run. `setup` sees it before they do."""
    with trio.fail_after(NEVER_S):
        async with trio.open_nursery() as nursery:
            world = World(nursery, rules=rules, **options)
            if setup is not None:
                setup(world)
            await world.start()
            yield world
            nursery.cancel_scope.cancel()


def rules_with(**changes: Any) -> ConversationRules:
    return evolve(RULES, **changes)


ALL_TEMPLATES = dict.fromkeys(Purpose, "HX1")


async def until(condition: Callable[[], bool]) -> None:
    """Let virtual time pass until something holds. Only for what nobody signals."""
    while not condition():
        await wait_all_tasks_blocked()
        if not condition():
            await trio.sleep(0.05)


@define(eq=False)
class FaultyStore:
    """A store with faults: call number `fails_at`, counted from 1, raises `failure`; 0 for never.

    Attributes:
        has_effect: whether the call that raises has happened all the same.
        calls: the names of the methods called so far.
    """

    store: object
    failure: BaseException = Factory(RuntimeError)
    fails_at: int = 0
    has_effect: bool = False
    calls: list[str] = field(factory=list, init=False)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            fails = len(self.calls) == self.fails_at
            if fails and not self.has_effect:
                await trio.lowlevel.checkpoint()
                raise self.failure
            result = await method(*args, **kwargs)
            if fails:
                raise self.failure
            return result

        return call

    def as_store(self) -> ConversationStore:
        return cast("ConversationStore", self)
