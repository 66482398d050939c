"""The composition root: every part, made once, plugged together by hand, started in order.

    store -> supervisor -> watchers -> admin listener -> public listener

and stopped the other way round, by phases: no new requests, no new work, what is under way to its end.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib.metadata import version

import httpx
import structlog
import trio
from attrs import define, field

from actors.alerts import Alerts
from actors.conversation.actor import ConversationActor
from actors.conversation.identity import identities_of
from actors.conversation.mail import ConversationMessage, Nudge
from actors.conversation.socket_budget import SocketBudget
from actors.conversation.texts import Texts
from actors.conversation.turn import CoalescingRules
from actors.conversation.turn_in_flight import TurnRules
from actors.conversation.world import ConversationRules, ConversationWorld
from actors.messages import Purpose
from actors.runtime.mailbox import Mailbox
from actors.runtime.registry import Registry
from actors.runtime.supervisor import ChildSpec, RestartIntensity, RestartPolicy, RunChild, Supervisor
from actors.watch.call_intake import CallIntake, FollowUpPolicy
from actors.watch.call_monitor import CallMonitor, MonitorRules
from actors.watch.idle_reaper import IdleReaper
from actors.watch.inbox_check import InboxCheck, InboxCheckRules
from actors.watch.outbox import Outbox, OutboxRules
from actors.watch.recovery import Recovery
from daemon.clock import SystemClock
from daemon.elevenlabs.agent_socket import AgentSessions
from daemon.elevenlabs.rest import CallSource, RestApi
from daemon.elevenlabs.webhook import SignatureCheck as CallSignature
from daemon.elevenlabs.webhook import check_signature, read_call_news
from daemon.httpserver import Address, HttpServer, ServerLimits
from daemon.lifecycle import Lifecycle
from daemon.observability.loop_monitor import LoopMonitor
from daemon.observability.metrics import PrometheusMetrics
from daemon.settings import Settings
from daemon.status import DaemonStatus
from daemon.store.calls import PostgresCalls
from daemon.store.conversations import PostgresConversations
from daemon.store.embedded import embedded_server
from daemon.store.inbox import PostgresInbox
from daemon.store.migrate import migrate
from daemon.store.outbox import PostgresOutbox
from daemon.store.overview import PostgresOverview
from daemon.store.pool import Pool, PoolLimits, open_pool
from daemon.store.recovery import PostgresRecovery
from daemon.twilio.inbound import read_message, read_status
from daemon.twilio.messaging import TwilioMessaging
from daemon.twilio.signature import SignatureCheck
from daemon.twilio.transport import Limits as TwilioLimits
from daemon.twilio.transport import open_transport, sdk_client
from daemon.web.admin.guard import AdminGuard
from daemon.web.admin.routes import AdminRoutes
from daemon.web.app import make_app
from daemon.web.door import TwilioDoor
from daemon.web.elevenlabs import ElevenLabsWebhook
from daemon.web.whatsapp import WhatsAppWebhooks

_log = structlog.get_logger(__name__)

VERSION = version("relevo")
SEND_TIMEOUT_S = 10.0
"""For one frame to an agent; frames are small and the socket's buffer takes them at once."""
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
async def open_store(settings: Settings) -> AsyncIterator[Pool]:
    """The pool on a database whose schema is current, embedded or not, for as long as the block runs.

    Raises:
        EmbeddedServerError, StoreUnavailableError, MigrationError: with a sentence for the operator.
    """
    store = settings.store
    async with AsyncExitStack() as stack:
        url = store.url or await stack.enter_async_context(embedded_server(store.data_dir))
        limits = PoolLimits(
            size=store.pool_size,
            connect_s=store.connect_timeout_s,
            acquire_s=store.acquire_timeout_s,
            statement_s=store.statement_timeout_s,
        )
        pool = await stack.enter_async_context(open_pool(url, limits=limits))
        async with pool.connection() as connection:
            await migrate(connection)
        yield pool


@asynccontextmanager
async def open_daemon(settings: Settings, lifecycle: Lifecycle) -> AsyncIterator[Daemon]:
    """The daemon, serving while the block runs and drained after it.

    Raises:
        CannotListenError: a port is in use. And what `open_store` raises; later, possibly in a group,
            `SupervisorGaveUpError`.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_store(settings))
        http = await stack.enter_async_context(_http_client(settings))
        transport = await stack.enter_async_context(
            open_transport(TwilioLimits(deadline_s=settings.twilio.request_timeout_s))
        )
        parts = _Parts(
            settings=settings,
            lifecycle=lifecycle,
            pool=pool,
            api=elevenlabs_api(settings, http),
            messaging=TwilioMessaging(
                client=sdk_client(
                    transport,
                    account_sid=settings.secrets.twilio_account_sid,
                    auth_token=settings.secrets.twilio_auth_token,
                    base_url=settings.twilio.base_url,
                ),
                sender=settings.twilio.whatsapp_from,
                public_url=settings.http.public_url,
            ),
        )
        async with trio.open_nursery() as nursery:
            daemon = await parts.start(nursery)
            lifecycle.begin_serving()
            yield daemon
            lifecycle.begin_drain()
            await parts.drain()
            nursery.cancel_scope.cancel(reason="drained")


def elevenlabs_api(settings: Settings, http: httpx.AsyncClient) -> RestApi:
    return RestApi(
        client=http,
        base_url=settings.elevenlabs.base_url,
        api_key=settings.secrets.elevenlabs_api_key,
        timeout_s=settings.elevenlabs.request_timeout_s,
        answer_max_bytes=settings.http.transcript_max_bytes,
    )


def agent_sessions(
    settings: Settings, api: RestApi, *, on_frame: Callable[[str, str], None] | None = None
) -> AgentSessions:
    return AgentSessions(
        sign=api.signed_url,
        start_timeout_s=settings.elevenlabs.start_timeout_s,
        send_timeout_s=SEND_TIMEOUT_S,
        connects=trio.CapacityLimiter(settings.elevenlabs.connect_concurrency),
        on_frame=on_frame,
    )


def _http_client(settings: Settings) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=20, keepalive_expiry=45.0)
    return httpx.AsyncClient(timeout=settings.elevenlabs.request_timeout_s, limits=limits)


@define(kw_only=True)
class _Parts:
    """Everything between the adapters that were opened and the listeners that are to be."""

    settings: Settings
    lifecycle: Lifecycle
    pool: Pool
    api: RestApi
    messaging: TwilioMessaging
    clock: SystemClock = field(factory=SystemClock)
    metrics: PrometheusMetrics = field(factory=PrometheusMetrics)
    loop_monitor: LoopMonitor = field(init=False)
    alerts: Alerts = field(init=False)
    budget: SocketBudget = field(init=False)
    supervisor: Supervisor = field(init=False)
    conversations: Registry[ConversationMessage] = field(init=False)
    outbox: Outbox = field(init=False)
    intake: CallIntake = field(init=False)
    monitor: CallMonitor = field(init=False)
    servers: list[HttpServer] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.loop_monitor = LoopMonitor(self.metrics)
        self.alerts = Alerts(self.clock)
        self.budget = SocketBudget(self.settings.conversation.max_open_sockets)
        self.supervisor = Supervisor(metrics=self.metrics)
        self.outbox = self._make_outbox()
        self.conversations = self._make_conversations()
        self.intake = CallIntake(
            store=PostgresCalls(self.pool),
            policy=_follow_up_policy(self.settings),
            conversation_due=lambda person_id: self.conversations.post(person_id, Nudge.LOOK),
            clock=self.clock,
            metrics=self.metrics,
        )
        self.metrics.watch("open_agent_sockets", "Agent sockets that are open.", lambda: len(self.budget))
        self.metrics.watch(
            "living_conversations", "Conversations in memory.", lambda: len(self.conversations)
        )
        self.monitor = CallMonitor(
            source=CallSource(self.api),
            store=PostgresCalls(self.pool),
            intake=self.intake,
            rules=_monitor_rules(self.settings),
            clock=self.clock,
            alerts=self.alerts,
        )

    async def start(self, nursery: trio.Nursery) -> Daemon:
        """Start everything; returns once both listeners are up."""
        await nursery.start(self.supervisor.run, name="supervisor")
        nursery.start_soon(self.loop_monitor.run, name="loop monitor")
        status = self._make_status()
        admin = await self._listen(nursery, "admin", self._admin_server(status))
        public = await self._listen(nursery, "public", self._public_server())
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
        with trio.move_on_after(self.settings.http.drain_s):
            for name in ("call_monitor", "inbox_check", "recovery", "idle_reaper"):
                await self.supervisor.stop(name, reason="draining")
            for person_id in self.conversations:
                self.conversations.post(person_id, Nudge.FINISH)
            self.conversations.close()
            await self.conversations.until_empty()
            await self.outbox.until_idle()
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
        pool, conversation = self.pool, self.settings.conversation
        recovery = Recovery(
            store=PostgresRecovery(pool),
            conversations=self.conversations,
            clock=self.clock,
            alerts=self.alerts,
            every_s=conversation.recover_every_s,
        )
        inbox_check = InboxCheck(
            messaging=self.messaging,
            store=PostgresInbox(pool),
            post=self.conversations.post,
            rules=InboxCheckRules(
                every_s=self.settings.whatsapp.missed_check_every_s,
                lookback=timedelta(hours=self.settings.monitor.lookback_hours),
                default_agent_id=self.settings.elevenlabs.text_agent_id,
            ),
            clock=self.clock,
            alerts=self.alerts,
        )
        reaper = IdleReaper(conversations=self.conversations, every_s=conversation.reap_every_s)
        watchers: dict[str, RunChild] = {
            "outbox": self.outbox.run,
            "recovery": recovery.run,
            "inbox_check": inbox_check.run,
            "call_monitor": self.monitor.run,
            "idle_reaper": reaper.run,
        }
        for name, run in watchers.items():
            await self.supervisor.start(
                ChildSpec(name=name, run=run, policy=RestartPolicy.PERMANENT, kind=name)
            )

    def _make_outbox(self) -> Outbox:
        outbox = self.settings.outbox
        return Outbox(
            store=PostgresOutbox(self.pool),
            messaging=self.messaging,
            rules=OutboxRules(
                messages_per_second=self.settings.whatsapp.messages_per_second,
                concurrency=outbox.concurrency,
                sweep_every_s=outbox.sweep_every_s,
                look_up_after_s=outbox.settle_unknown_after_s,
                certain_after_s=outbox.certain_after_s,
                retry_first_s=outbox.retry_first_s,
                retry_max_s=outbox.retry_max_s,
                give_up_after_s=outbox.give_up_after_s,
            ),
            clock=self.clock,
            alerts=self.alerts,
            metrics=self.metrics,
        )

    def _make_conversations(self) -> Registry[ConversationMessage]:
        world = ConversationWorld(
            sessions=agent_sessions(self.settings, self.api),
            budget=self.budget,
            store=PostgresConversations(self.pool),
            messaging=self.messaging,
            outbox_due=self.outbox.due,
            texts=Texts(self.settings.text_sources),
            alerts=self.alerts,
            metrics=self.metrics,
            clock=self.clock,
        )
        rules = _conversation_rules(self.settings)

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
        )

    def _make_status(self) -> DaemonStatus:
        return DaemonStatus(
            version=VERSION,
            lifecycle=self.lifecycle,
            store_kind="embedded" if self.settings.store.is_embedded else "postgresql",
            overview=PostgresOverview(self.pool),
            supervisor=self.supervisor,
            conversations=self.conversations,
            budget=self.budget,
            monitor=self.monitor,
            alerts=self.alerts,
            clock=self.clock,
            loop_delay_s=lambda: self.loop_monitor.last_delay_s,
            started_at=self.clock.now(),
        )

    def _admin_server(self, status: DaemonStatus) -> HttpServer:
        settings = self.settings

        async def measure() -> None:
            self.metrics.queue_lengths(await status.queue_lengths())

        routes = AdminRoutes(
            guard=AdminGuard(settings.secrets.admin_token),
            is_ready=status.is_ready,
            status=status.report,
            metrics=self.metrics,
            measure=measure,
            overview=status.overview,
            identities_of=identities_of,
            post=self.conversations.post,
            process_batch=self.monitor.process_batch,
        )
        app = make_app(
            "admin",
            [routes],
            max_body_bytes=settings.http.max_body_bytes,
            request_timeout_s=settings.http.request_timeout_s,
            count=self.metrics.http_request,
        )
        return HttpServer(
            app, name="admin", host=settings.admin.host, port=settings.admin.port, limits=_limits(settings)
        )

    def _public_server(self) -> HttpServer:
        settings, pool = self.settings, self.pool
        secrets = settings.secrets
        tokens = [secrets.twilio_auth_token, secrets.twilio_auth_token_secondary]
        whatsapp = WhatsAppWebhooks(
            door=TwilioDoor(
                account_sid=secrets.twilio_account_sid,
                max_body_bytes=settings.http.max_body_bytes,
                is_signed=SignatureCheck(settings.http.public_url, tokens).form,
                is_open=lambda: self.lifecycle.is_serving,
            ),
            inbox=PostgresInbox(pool),
            outbox=PostgresOutbox(pool),
            read_message=read_message,
            read_status=lambda form, query: read_status(form, message_id=query.get("m")),
            default_agent_id=settings.elevenlabs.text_agent_id,
            post=self.conversations.post,
            outbox_due=self.outbox.due,
            clock=self.clock,
            store_timeout_s=settings.http.request_timeout_s,
        )
        elevenlabs = ElevenLabsWebhook(
            is_signed=self._call_signature_check(),
            read=read_call_news,
            intake=self.intake,
            details_due=self.monitor.details_due,
            is_open=lambda: self.lifecycle.is_serving,
            max_body_bytes=settings.http.transcript_max_bytes,
            store_timeout_s=settings.http.request_timeout_s,
        )
        app = make_app(
            "public",
            [whatsapp, elevenlabs],
            max_body_bytes=settings.http.transcript_max_bytes,
            request_timeout_s=settings.http.request_timeout_s,
            count=self.metrics.http_request,
        )
        return HttpServer(
            app, name="public", host=settings.http.host, port=settings.http.port, limits=_limits(settings)
        )

    def _call_signature_check(self) -> Callable[[bytes, str | None], bool] | None:
        secret = self.settings.secrets.elevenlabs_webhook_secret
        if not secret:
            return None
        return lambda body, header: (
            check_signature(header, body, secret=secret, now=self.clock.now()) is CallSignature.GOOD
        )


def _limits(settings: Settings) -> ServerLimits:
    http = settings.http
    return ServerLimits(
        connections_max=http.connections_max,
        head_timeout_s=http.head_timeout_s,
        body_timeout_s=http.request_timeout_s,
        write_timeout_s=http.request_timeout_s,
        keep_alive_s=http.keep_alive_s,
        drain_s=http.drain_s,
    )


def _follow_up_policy(settings: Settings) -> FollowUpPolicy:
    return FollowUpPolicy(
        outcomes=settings.follow_up.outcomes,
        lookback=timedelta(hours=settings.monitor.lookback_hours),
        analysis_timeout_s=settings.monitor.analysis_timeout_s,
        text_agent_id=settings.elevenlabs.text_agent_id,
        text_agents=settings.elevenlabs.text_agents,
    )


def _monitor_rules(settings: Settings) -> MonitorRules:
    return MonitorRules(
        poll_every_s=settings.monitor.poll_every_s,
        lookback=timedelta(hours=settings.monitor.lookback_hours),
        details_concurrency=settings.monitor.details_concurrency,
    )


def _conversation_rules(settings: Settings) -> ConversationRules:
    conversation, whatsapp = settings.conversation, settings.whatsapp
    return ConversationRules(
        turn=TurnRules(
            reply_timeout_s=conversation.reply_timeout_s,
            settle_s=conversation.settle_s,
            attempts_max=conversation.attempts_max,
            retry_first_s=conversation.retry_first_s,
            retry_max_s=conversation.retry_max_s,
        ),
        coalescing=CoalescingRules(quiet_s=conversation.coalesce_s, max_s=conversation.coalesce_max_s),
        opens_socket_at_call_end=conversation.open_socket == "call_end",
        idle_close_s=conversation.idle_close_s,
        retire_after_s=conversation.retire_after_s,
        failed_turn_retry_s=conversation.unanswered_retry_first_s,
        failed_turn_retry_max_s=conversation.unanswered_retry_max_s,
        history_messages=conversation.history_messages,
        template_sids={
            Purpose.OPENING: whatsapp.opening_template_sid,
            Purpose.ANSWER: whatsapp.reopen_template_sid,
            Purpose.FALLBACK: whatsapp.reopen_template_sid,
        },
    )
