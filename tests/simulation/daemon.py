"""One life of the daemon: the real supervisor, registry and actors over ports in memory, plugged together as in
`daemon/bootstrap.py`, from its start to its end, however it ends.
"""

from collections.abc import Awaitable, Callable
from typing import cast

import trio
from attrs import define, field, frozen

from actors.alerts import Alerts
from actors.calls import CallDetails, CallSighting, SeenCall
from actors.conversation.actor import ConversationActor
from actors.conversation.agent_access import AgentAccess
from actors.conversation.mail import Close, ConversationMessage, MessageArrived, Nudge
from actors.conversation.socket_budget import SocketBudget
from actors.conversation.world import ConversationWorld
from actors.messages import InboundMessage, StatusReport
from actors.ports import (
    CallStore,
    ConversationStore,
    HoldStore,
    InboxStore,
    OutboxStore,
    RecoveryStore,
    StoreUnavailableError,
)
from actors.runtime.mailbox import Mailbox
from actors.runtime.registry import Registry
from actors.runtime.supervisor import (
    ChildSpec,
    RestartPolicy,
    RunChild,
    Supervisor,
    SupervisorGaveUpError,
)
from actors.watch.call_intake import CallIntake
from actors.watch.call_monitor import CallMonitor
from actors.watch.holds import Holds
from actors.watch.idle_reaper import IdleReaper
from actors.watch.inbox_check import InboxCheck
from actors.watch.outbox import Outbox
from actors.watch.readmission import Readmission
from actors.watch.recovery import Recovery
from actors.watch.status_intake import StatusIntake
from tests.memory.calls import MemoryCalls
from tests.memory.conversations import MemoryConversations
from tests.memory.holds import MemoryHolds
from tests.memory.inbox import MemoryInbox
from tests.memory.outbox import MemoryOutbox
from tests.memory.recovery import MemoryRecovery
from tests.simulation import rules
from tests.simulation.agent import SimulatedAgent
from tests.simulation.chance import Chance
from tests.simulation.clocks import JumpingClock
from tests.simulation.counting import CountingMetrics
from tests.simulation.elevenlabs import CallSourceLine, ElevenLabs
from tests.simulation.perils import InjectedCrashError, Perils
from tests.simulation.stores import LiveDatabase, StoreLine
from tests.simulation.trace import Trace
from tests.simulation.twilio import Twilio
from tests.simulation.twilio_line import TwilioLine
from tests.simulation.witness import Witness, leaves

DRAIN_S = 20.0
_GIVES_UP = (SupervisorGaveUpError, InjectedCrashError, StoreUnavailableError)
"""What ends the process, for systemd to start it again: a watcher over its intensity, or one that cannot begin."""


@frozen(kw_only=True)
class Outside:
    """What a daemon finds when it starts, and leaves behind when it dies."""

    chance: Chance
    trace: Trace
    witness: Witness
    metrics: CountingMetrics
    clock: JumpingClock
    database: LiveDatabase
    twilio: Twilio
    elevenlabs: ElevenLabs


@define(eq=False)
class Life:
    """A daemon's life.

    Attributes:
        is_serving: webhooks are answered.
        is_dead: it was killed; nothing of it may take effect any more.
    """

    outside: Outside
    is_serving: bool = field(default=False, init=False)
    is_dead: bool = field(default=False, init=False)
    alerts: Alerts = field(init=False)
    conversations: Registry[ConversationMessage] = field(init=False)
    _perils: Perils = field(init=False)
    _messaging: TwilioLine = field(init=False)
    _inbox: InboxStore = field(init=False)
    _outbox_store: OutboxStore = field(init=False)
    _supervisor: Supervisor = field(init=False)
    _outbox: Outbox = field(init=False)
    _holds: Holds = field(init=False)
    _statuses: StatusIntake = field(init=False)
    _access: AgentAccess = field(init=False)
    _intake: CallIntake = field(init=False)
    _monitor: CallMonitor = field(init=False)
    _nursery: trio.Nursery = field(init=False)
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _must_drain: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        outside = self.outside
        self._perils = Perils(self, outside.chance, outside.trace)
        self._messaging = TwilioLine(outside.twilio, self._perils, outside.clock)
        self._inbox = cast("InboxStore", self._line("inbox", MemoryInbox(outside.database)))
        self._outbox_store = cast("OutboxStore", self._line("outbox", MemoryOutbox(outside.database)))
        self.alerts = Alerts(outside.clock)
        self._supervisor = Supervisor(metrics=self.outside.metrics)
        self._make_sending()
        budget = SocketBudget(1 if outside.chance.flips(0.2) else 500)
        self._access = AgentAccess(rules.ACCESS, budget=budget, alerts=self.alerts)
        self.conversations = self._make_conversations()
        self._make_call_watch()

    def _line(self, name: str, store: object) -> StoreLine:
        return StoreLine(store, name, self._perils, self.outside.chance, self.outside.witness.committed)

    def _make_sending(self) -> None:
        clock, alerts = self.outside.clock, self.alerts
        self._outbox = Outbox(
            store=self._outbox_store,
            messaging=self._messaging,
            rules=rules.OUTBOX,
            clock=clock,
            alerts=alerts,
            metrics=self.outside.metrics,
            opening_failed=lambda: self._holds.opening_failed(),  # noqa: PLW0108 - made after the outbox
        )
        self._holds = Holds(
            store=cast("HoldStore", self._line("holds", MemoryHolds(self.outside.database))),
            rules=rules.HOLDS,
            outbox_due=self._outbox.due,
            clock=clock,
            alerts=alerts,
        )
        self._statuses = StatusIntake(
            store=self._outbox_store,
            give_up_after_s=rules.OUTBOX.give_up_after_s,
            outbox_due=self._outbox.due,
            opening_failed=self._holds.opening_failed,
            clock=clock,
            alerts=alerts,
            metrics=self.outside.metrics,
        )

    def _make_conversations(self) -> Registry[ConversationMessage]:
        outside = self.outside
        world = ConversationWorld(
            sessions=SimulatedAgent(self._perils, outside.witness.said_nothing),
            access=self._access,
            store=cast(
                "ConversationStore", self._line("conversations", MemoryConversations(outside.database))
            ),
            messaging=self._messaging,
            outbox_due=self._outbox.due,
            texts=rules.TEXTS,
            alerts=self.alerts,
            metrics=outside.metrics,
            clock=outside.clock,
        )
        conversation_rules = rules.conversation_rules(
            opens_socket_at_call_end=outside.chance.flips(), has_templates=outside.chance.flips()
        )

        def make_run(person_id: int, mailbox: Mailbox[ConversationMessage]) -> RunChild:
            async def run(*, task_status: trio.TaskStatus[None]) -> None:
                actor = ConversationActor(person_id, mailbox, world=world, rules=conversation_rules)
                await actor.run(task_status=task_status)

            return self._watched(f"conversation {person_id}", run)

        return Registry(
            self._supervisor,
            make_run,
            kind="conversation",
            mailbox_size=rules.MAILBOX_SIZE,
            intensity=rules.INTENSITY,
            park_s=rules.PARK_S,
            on_parked=self._parked,
            on_released=lambda person_id: self.alerts.settle(f"parked_{person_id}"),
        )

    def _parked(self, person_id: int) -> None:
        self.outside.trace.note("PARKED", f"person {person_id}")
        self.outside.metrics.counts["conversation parked"] += 1
        self.alerts.raise_alert(f"parked_{person_id}", "crashes again and again")

    def _make_call_watch(self) -> None:
        store = cast("CallStore", self._line("calls", MemoryCalls(self.outside.database)))
        self._intake = CallIntake(
            store=store,
            policy=rules.FOLLOW_UP,
            conversation_due=lambda person_id: self.conversations.post(person_id, Nudge.LOOK),
            clock=self.outside.clock,
            metrics=self.outside.metrics,
        )
        self._monitor = CallMonitor(
            source=CallSourceLine(self.outside.elevenlabs.books, self._perils),
            store=store,
            intake=self._intake,
            rules=rules.MONITOR,
            clock=self.outside.clock,
            alerts=self.alerts,
        )

    # --- from birth to death ---

    async def run(self) -> None:
        """Until it is killed, drained, or gives up."""
        self.outside.trace.note("DAEMON STARTS")
        with self._scope:
            try:
                async with trio.open_nursery() as self._nursery:
                    await self._start()
                    self.is_serving = True
                    await self._must_drain.wait()
                    await self._drain()
                    self._nursery.cancel_scope.cancel()
            except BaseExceptionGroup as errors:
                gave_up = [repr(leaf) for leaf in leaves(errors) if isinstance(leaf, _GIVES_UP)]
                # Whoever is killed may stumble over what died before it.
                if not gave_up and not self.is_dead:
                    raise
                self.outside.trace.note("DAEMON GIVES UP" if gave_up else "DAEMON DIES", *gave_up)
        self.is_serving, self.is_dead = False, True

    async def _start(self) -> None:
        await self._nursery.start(self._supervisor.run)
        for name, run in self._watchers().items():
            child = ChildSpec(
                name=name,
                run=self._watched(name, run),
                policy=RestartPolicy.PERMANENT,
                kind=name,
                intensity=rules.INTENSITY,
            )
            await self._supervisor.start(child)

    def _watchers(self) -> dict[str, RunChild]:
        store = cast("RecoveryStore", self._line("recovery", MemoryRecovery(self.outside.database)))
        recovery = Recovery(
            store=store,
            conversations=self.conversations,
            clock=self.outside.clock,
            alerts=self.alerts,
            every_s=rules.RECOVER_EVERY_S,
            is_crowded=lambda: self._access.is_crowded,
        )
        inbox_check = InboxCheck(
            messaging=self._messaging,
            store=self._inbox,
            post=self.conversations.post,
            rules=rules.INBOX_CHECK,
            clock=self.outside.clock,
            alerts=self.alerts,
        )
        reaper = IdleReaper(conversations=self.conversations, every_s=rules.REAP_EVERY_S)
        readmission = Readmission(
            access=self._access, store=store, conversations=self.conversations, page_size=10
        )
        return {
            "outbox": self._outbox.run,
            "holds": self._holds.run,
            "recovery": recovery.run,
            "inbox_check": inbox_check.run,
            "call_monitor": self._monitor.run,
            "idle_reaper": reaper.run,
            "readmission": readmission.run,
        }

    def _watched(self, name: str, run: RunChild) -> RunChild:
        async def run_watched(*, task_status: trio.TaskStatus[None]) -> None:
            try:
                await run(task_status=task_status)
            except BaseException as crash:
                self.outside.witness.crashed(name, crash)
                raise

        return run_watched

    def kill(self) -> None:
        """`kill -9`: of what is under way, nothing more takes effect here."""
        self.is_serving, self.is_dead = False, True
        self._scope.cancel()

    def drain(self) -> None:
        """SIGTERM."""
        self._must_drain.set()

    async def _drain(self) -> None:
        self.is_serving = False
        with trio.move_on_after(DRAIN_S):
            for name in [name for name in self._watchers() if name != "outbox"]:
                await self._supervisor.stop(name, reason="draining")
            for person_id in self.conversations:
                self.conversations.post(person_id, Nudge.FINISH)
            self.conversations.close()
            await self.conversations.until_empty()
            await self._outbox.until_idle()

    # --- what it is told from outside: as in daemon/web ---

    def handle(self, what: str, answer: Callable[[], Awaitable[None]]) -> None:
        """Let a request in. Whoever sent it hears of no failure that it would repeat it for."""
        if self.is_serving:
            self._nursery.start_soon(self._handle, what, answer)
        else:
            self.outside.trace.note(what, "not served")

    async def _handle(self, what: str, answer: Callable[[], Awaitable[None]]) -> None:
        with trio.move_on_after(rules.HTTP_TIMEOUT_S):
            try:
                await answer()
            except (StoreUnavailableError, InjectedCrashError) as error:
                self.outside.trace.note(what, "answered 5xx", repr(error))

    async def message_arrived(self, message: InboundMessage) -> None:
        received = await self._inbox.receive(
            message, default_agent_id=rules.TEXT_AGENT, now=self.outside.clock.now()
        )
        if received.is_new:
            self.conversations.post(received.person_id, MessageArrived(message.sid))
        self.outside.witness.acknowledged(message.sid)

    async def status_arrived(self, report: StatusReport) -> None:
        await self._statuses.take(report)

    async def call_ended(self, details: CallDetails) -> None:
        await self._intake.see([_seen(details)])
        await self._intake.take_told(details)
        self._monitor.details_due()

    def close_conversation(self, person_id: int) -> None:
        """The operator's word."""
        self.conversations.post(person_id, Close())


def _seen(details: CallDetails) -> SeenCall:
    return SeenCall(
        id=details.id,
        sighting=CallSighting.WEBHOOK,
        agent_id=details.agent_id,
        phone_number=details.phone_number,
        outcome=details.outcome,
    )
