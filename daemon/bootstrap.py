"""The composition root: every part, made once, plugged together by hand, started in order.

    store -> supervisor -> watchers -> admin listener -> public listener

and stopped the other way round, by phases: no new requests, no new work, what is under way to its end.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import structlog
import trio
from attrs import define, field

from actors.alerts import Alerts
from actors.calls import Batch
from actors.conversation.actor import ConversationActor
from actors.conversation.agent_access import AgentAccess
from actors.conversation.mail import ConversationMessage, Nudge
from actors.conversation.socket_budget import SocketBudget
from actors.conversation.texts import Texts
from actors.conversation.world import ConversationWorld
from actors.runtime.mailbox import Mailbox
from actors.runtime.registry import Registry
from actors.runtime.supervisor import ChildSpec, RestartIntensity, RestartPolicy, RunChild, Supervisor
from actors.watch.call_intake import CallIntake
from actors.watch.call_monitor import CallMonitor
from actors.watch.holds import Holds
from actors.watch.idle_reaper import IdleReaper
from actors.watch.inbox_check import InboxCheck
from actors.watch.outbox import Outbox
from actors.watch.readmission import Readmission
from actors.watch.recovery import Recovery
from actors.watch.status_intake import StatusIntake
from daemon.adapters import (
    TwilioApi,
    agent_sessions,
    messaging,
    open_elevenlabs,
    open_music,
    open_store,
    open_twilio,
    pool_share,
    speech,
    telephony,
)
from daemon.clock import SystemClock
from daemon.elevenlabs.rest import CallSource, RestApi
from daemon.httpserver import Address, HttpServer
from daemon.lifecycle import Lifecycle
from daemon.listeners import Listeners
from daemon.live_calls import LiveCalls
from daemon.observability.loop_monitor import LoopMonitor
from daemon.observability.metrics import PrometheusMetrics
from daemon.rules import (
    access_rules,
    conversation_rules,
    follow_up_policy,
    hold_rules,
    inbox_check_rules,
    monitor_rules,
    outbox_rules,
)
from daemon.settings import Settings
from daemon.status import WATCHERS, DaemonStatus
from daemon.store.calls import PostgresCalls
from daemon.store.conversations import PostgresConversations
from daemon.store.holds import PostgresHolds
from daemon.store.inbox import PostgresInbox
from daemon.store.outbox import PostgresOutbox
from daemon.store.overview import PostgresOverview
from daemon.store.pool import Pool, PoolShare
from daemon.store.recovery import PostgresRecovery
from daemon.twilio.messaging import TwilioMessaging
from daemon.voice.music import HoldMusic

_log = structlog.get_logger(__name__)

VERSION = version("relevo")
PARK_S = 300.0
CLOSING_S = 5.0
"""For what is left once the drain's time is over: close frames, the pool."""


@define(kw_only=True)
class Daemon:
    """A daemon that serves.

    Attributes:
        public, admin: the addresses really bound.
    """

    lifecycle: Lifecycle
    status: DaemonStatus
    loop_monitor: LoopMonitor
    public: Address
    admin: Address


@asynccontextmanager
async def open_daemon(settings: Settings, lifecycle: Lifecycle) -> AsyncIterator[Daemon]:
    """The daemon, serving while the block runs and drained after it.

    Raises:
        CannotListenError: a port is in use. And what `open_store` raises; later, possibly in a group,
            `SupervisorGaveUpError`.
    """
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        alerts = Alerts(clock)
        pool = await stack.enter_async_context(open_store(settings))
        parts = _Parts(
            settings=settings,
            lifecycle=lifecycle,
            pool=pool,
            api=await stack.enter_async_context(open_elevenlabs(settings)),
            twilio=await stack.enter_async_context(open_twilio(settings)),
            music=await stack.enter_async_context(open_music(settings, alerts)),
            clock=clock,
            alerts=alerts,
        )
        async with trio.open_nursery() as nursery:
            daemon = await parts.start(nursery)
            lifecycle.begin_serving()
            yield daemon
            lifecycle.begin_drain()
            await parts.drain()
            nursery.cancel_scope.cancel(reason="drained")


@define(kw_only=True)
class _Parts:
    """Everything between the adapters that were opened and the listeners that are to be."""

    settings: Settings
    lifecycle: Lifecycle
    pool: Pool
    api: RestApi
    twilio: TwilioApi
    music: HoldMusic
    clock: SystemClock
    alerts: Alerts
    messaging: TwilioMessaging = field(init=False)
    share: PoolShare = field(init=False)
    metrics: PrometheusMetrics = field(factory=PrometheusMetrics)
    loop_monitor: LoopMonitor = field(init=False)
    budget: SocketBudget = field(init=False)
    access: AgentAccess = field(init=False)
    supervisor: Supervisor = field(init=False)
    conversations: Registry[ConversationMessage] = field(init=False)
    outbox: Outbox = field(init=False)
    holds: Holds = field(init=False)
    intake: CallIntake = field(init=False)
    monitor: CallMonitor = field(init=False)
    live_calls: LiveCalls | None = field(default=None, init=False)
    servers: list[HttpServer] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        # Actors can wait for the database, Twilio cannot.
        self.share = pool_share(self.settings, self.pool)
        self.messaging = messaging(self.settings, self.twilio, self.clock)
        self.loop_monitor = LoopMonitor(self.metrics)
        self.budget = SocketBudget(self.settings.conversation.max_open_sockets)
        self.access = AgentAccess(access_rules(self.settings), budget=self.budget, alerts=self.alerts)
        self.supervisor = Supervisor(metrics=self.metrics)
        self.outbox = self._make_outbox()
        self.holds = Holds(
            store=PostgresHolds(self.share),
            rules=hold_rules(self.settings),
            outbox_due=self.outbox.due,
            clock=self.clock,
            alerts=self.alerts,
        )
        self.conversations = self._make_conversations()
        self.intake = CallIntake(
            store=PostgresCalls(self.pool),
            policy=follow_up_policy(self.settings),
            conversation_due=lambda person_id: self.conversations.post(person_id, Nudge.LOOK),
            clock=self.clock,
            metrics=self.metrics,
        )
        self.metrics.watch("open_agent_sockets", "Agent sockets that are open.", lambda: len(self.budget))
        self.metrics.watch("living_conversations", "Conversations in memory.", self.conversations.__len__)
        self.monitor = CallMonitor(
            source=CallSource(self.api),
            store=PostgresCalls(self.share),
            intake=self.intake,
            rules=monitor_rules(self.settings),
            clock=self.clock,
            alerts=self.alerts,
        )
        if self.settings.elevenlabs.voice_agent_id:
            self.live_calls = self._make_live_calls()

    async def start(self, nursery: trio.Nursery) -> Daemon:
        """Start everything; returns once both listeners are up."""
        await nursery.start(self.supervisor.run, name="supervisor")
        nursery.start_soon(self.loop_monitor.run, name="loop monitor")
        status = self._make_status()
        listeners = self._make_listeners(status)
        admin = await self._listen(nursery, "admin", listeners.admin())
        public = await self._listen(nursery, "public", listeners.public())
        await self._start_watchers()
        return Daemon(
            lifecycle=self.lifecycle,
            status=status,
            loop_monitor=self.loop_monitor,
            public=public,
            admin=admin,
        )

    async def drain(self) -> None:
        """Finish what is under way within `http.drain_s`; the rest stays in the database."""
        if self.live_calls is not None:
            self.live_calls.begin_drain()
        with trio.move_on_after(self.settings.http.drain_s):
            # The outbox goes on: what the last turns leave in it is still to be sent.
            for name in [name for name in WATCHERS if name != "outbox"]:
                await self.supervisor.stop(name, reason="draining")
            for person_id in self.conversations:
                self.conversations.post(person_id, Nudge.FINISH)
            self.conversations.close()
            await self.conversations.until_empty()
            await self.outbox.until_idle()
            if self.live_calls is not None:
                await self.live_calls.drain()
        if self.live_calls is not None:
            left = len(self.live_calls.active)
            if left:
                _log.warning("live calls are left for the next daemon", live_calls=left)
            self.live_calls.close()
        public = self.servers[-1]
        with trio.move_on_after(CLOSING_S):
            await public.drain()

    async def _listen(self, nursery: trio.Nursery, name: str, server: HttpServer) -> Address:
        self.servers.append(server)
        address: Address = await nursery.start(server.run, name=f"{name} listener")
        _log.info("listening", listener=name, host=address[0], port=address[1])
        return address

    async def _start_watchers(self) -> None:
        """What the status calls alive: permanent, and without any of them the process ends."""
        conversation = self.settings.conversation
        recovery = Recovery(
            store=PostgresRecovery(self.share),
            conversations=self.conversations,
            clock=self.clock,
            alerts=self.alerts,
            every_s=conversation.recover_every_s,
            is_crowded=lambda: self.access.is_crowded,
        )
        inbox_check = InboxCheck(
            messaging=self.messaging,
            store=PostgresInbox(self.share),
            post=self.conversations.post,
            rules=inbox_check_rules(self.settings),
            clock=self.clock,
            alerts=self.alerts,
        )
        readmission = Readmission(
            access=self.access,
            store=PostgresRecovery(self.share),
            conversations=self.conversations,
            page_size=max(1, round(self.settings.elevenlabs.connects_per_second)),
        )
        reaper = IdleReaper(conversations=self.conversations, every_s=conversation.reap_every_s)
        watchers: dict[str, RunChild] = {
            "outbox": self.outbox.run,
            "holds": self.holds.run,
            "recovery": recovery.run,
            "inbox_check": inbox_check.run,
            "call_monitor": self.monitor.run,
            "idle_reaper": reaper.run,
            "readmission": readmission.run,
            **(self.live_calls.watchers if self.live_calls is not None else {}),
        }
        for name, run in watchers.items():
            await self.supervisor.start(
                ChildSpec(name=name, run=run, policy=RestartPolicy.PERMANENT, kind=name)
            )

    def _make_outbox(self) -> Outbox:
        return Outbox(
            store=PostgresOutbox(self.share),
            messaging=self.messaging,
            rules=outbox_rules(self.settings),
            clock=self.clock,
            alerts=self.alerts,
            metrics=self.metrics,
            opening_failed=lambda: self.holds.opening_failed(),  # noqa: PLW0108 - made after the outbox
        )

    def _make_status_intake(self) -> StatusIntake:
        return StatusIntake(
            store=PostgresOutbox(self.pool),
            give_up_after_s=self.settings.outbox.give_up_after_s,
            outbox_due=self.outbox.due,
            opening_failed=self.holds.opening_failed,
            clock=self.clock,
            alerts=self.alerts,
            metrics=self.metrics,
        )

    async def _process_batch(self, batch_id: str) -> Batch | None:
        """See `CallMonitor.process_batch`. Openings that were held back go now, those too whose calls did not yet tell
        their batch.
        """
        batch = await self.monitor.process_batch(batch_id)
        if batch is not None:
            await self.holds.release([batch.summary.id, batch.summary.agent_id])
        return batch

    def _make_conversations(self) -> Registry[ConversationMessage]:
        world = ConversationWorld(
            sessions=agent_sessions(self.settings, self.api),
            access=self.access,
            store=PostgresConversations(self.share),
            messaging=self.messaging,
            outbox_due=self.outbox.due,
            texts=Texts(self.settings.text_sources),
            alerts=self.alerts,
            metrics=self.metrics,
            clock=self.clock,
        )
        rules = conversation_rules(self.settings)

        def make_run(person_id: int, mailbox: Mailbox[ConversationMessage]) -> RunChild:
            # Made anew for every life: what a crashed one believed must not outlive it.
            async def run(*, task_status: trio.TaskStatus[None]) -> None:
                await ConversationActor(person_id, mailbox, world=world, rules=rules).run(
                    task_status=task_status
                )

            return run

        return Registry(
            self.supervisor,
            make_run,
            kind="conversation",
            mailbox_size=self.settings.conversation.mailbox_size,
            intensity=RestartIntensity(),
            park_s=PARK_S,
            on_parked=lambda person_id: self.alerts.raise_alert(
                f"parked_{person_id}", f"the conversation of person {person_id} crashes again and again"
            ),
            on_released=lambda person_id: self.alerts.settle(f"parked_{person_id}"),
        )

    def _make_live_calls(self) -> LiveCalls:
        settings = self.settings
        return LiveCalls(
            settings=settings,
            pool=self.pool,
            share=self.share,
            telephony=telephony(settings, self.twilio, self.clock),
            speech=speech(settings, self.api, self.alerts),
            sessions=agent_sessions(settings, self.api, start_timeout_s=settings.voice.agent_start_s),
            music=self.music,
            supervisor=self.supervisor,
            details_due=self.monitor.details_due,
            outbox_due=self.outbox.due,
            clock=self.clock,
            alerts=self.alerts,
            metrics=self.metrics,
        )

    def _make_status(self) -> DaemonStatus:
        return DaemonStatus(
            version=VERSION,
            lifecycle=self.lifecycle,
            store_kind="embedded" if self.settings.store.is_embedded else "postgresql",
            is_store_up=self.pool.check,
            overview=PostgresOverview(self.pool),
            supervisor=self.supervisor,
            conversations=self.conversations,
            live_calls=self.live_calls.active if self.live_calls is not None else None,
            budget=self.budget,
            monitor=self.monitor,
            alerts=self.alerts,
            clock=self.clock,
            loop_delay_s=lambda: self.loop_monitor.last_delay_s,
            started_at=self.clock.now(),
        )

    def _make_listeners(self, status: DaemonStatus) -> Listeners:
        return Listeners(
            settings=self.settings,
            lifecycle=self.lifecycle,
            pool=self.pool,
            status=status,
            conversations=self.conversations,
            intake=self.intake,
            statuses=self._make_status_intake(),
            details_due=self.monitor.details_due,
            process_batch=self._process_batch,
            live_calls=self.live_calls,
            clock=self.clock,
            alerts=self.alerts,
            metrics=self.metrics,
        )
