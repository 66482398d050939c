"""The admin listener on a real socket, over a daemon that is made up."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import trio
from attrs import define, evolve, field

from actors.alerts import Alerts
from actors.calls import Batch
from actors.conversation.identity import identities_of
from actors.conversation.mail import Close, ConversationMessage
from actors.overview import (
    BatchProgress,
    CallCounts,
    ConversationPage,
    ConversationSummary,
    ConversationTimeline,
    LiveCallSummary,
    Queues,
)
from actors.ports import StoreUnavailableError
from daemon.clock import SystemClock
from daemon.httpserver import HttpServer, ServerLimits
from daemon.observability.metrics import PrometheusMetrics
from daemon.web.admin.guard import AdminGuard
from daemon.web.admin.lockout import Lockout, LockoutRules
from daemon.web.admin.pages import AdminPages
from daemon.web.admin.routes import AdminRoutes
from daemon.web.admin.session import Sessions
from daemon.web.app import make_app
from daemon.web.headers import API_HEADERS

TOKEN = "a-token-of-the-tests"
ANA = ConversationSummary(
    id=7,
    person_id=17,
    phone_number="+573001239155",
    name="Ana <b>María</b>",
    status="active",
    agent_id="agent_text",
    agent_conversation_id="conv_1",
    started_at=datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
    closed_at=None,
    last_message_at=datetime(2026, 5, 4, 12, 30, tzinfo=UTC),
    message_count=4,
    unanswered=1,
)


@define
class FewConversations:
    """An `Overview` of what a test puts in."""

    summaries: list[ConversationSummary] = field(factory=lambda: [ANA])
    calls: list[LiveCallSummary] = field(factory=list)
    timeline: ConversationTimeline | None = None
    is_up: bool = True

    async def queues(self) -> Queues:
        return Queues(inbound_pending=1, outbound_pending=0, outbound_in_doubt=0, dead_letters=0)

    async def call_counts(self) -> CallCounts:
        return CallCounts(live=len(self.calls), unfinished_recordings=2)

    async def live_calls(self) -> Sequence[LiveCallSummary]:
        if not self.is_up:
            raise StoreUnavailableError("away")
        return self.calls

    async def conversations(self, cursor: int | None, *, limit: int) -> ConversationPage:
        if not self.is_up:
            raise StoreUnavailableError("away")
        return ConversationPage(conversations=self.summaries[:limit], next_cursor=None)

    async def conversation(self, conversation_id: int) -> ConversationTimeline | None:
        return self.timeline if self.timeline and self.timeline.summary.id == conversation_id else None

    async def find_by_number(self, identities: Sequence[str]) -> ConversationSummary | None:
        found = [summary for summary in self.summaries if summary.phone_number in identities]
        return found[0] if found else None

    async def newest_batch(self) -> BatchProgress | None:
        return None

    async def batch(self, batch_id: str) -> BatchProgress | None:
        return None


@define(eq=False)
class AdminDaemon:
    """What the routes are wired to, and what reached it. `now_s` is the monotonic clock of the guard."""

    overview: FewConversations = field(factory=FewConversations)
    parked: list[int] = field(factory=list)
    closed: list[int] = field(factory=list)
    alerts: Alerts = field(factory=lambda: Alerts(SystemClock()))
    now_s: float = 0.0
    in_memory: int = 3
    phase: str = "serving"

    def guard(self) -> AdminGuard:
        return AdminGuard(
            token=TOKEN,
            sessions=Sessions(TOKEN, 12, lambda: 1_700_000_000 + self.now_s),
            lockout=Lockout(LockoutRules(tries_max=3, first_lock_s=30, lock_max_s=60)),
            alerts=self.alerts,
            now_s=lambda: self.now_s,
        )

    def post(self, person_id: int, message: ConversationMessage) -> bool:
        if isinstance(message, Close):
            self.closed.append(person_id)
            message.done.give(value=True)
        return True

    def release(self, person_id: int) -> bool:
        if person_id not in self.parked:
            return False
        self.parked.remove(person_id)
        return True

    async def status(self) -> Mapping[str, Any]:
        alive = {"alive": True, "restarts": 0}
        alerts = [
            {"key": alert.key, "text": alert.text, "since": alert.since, "count": alert.count}
            for alert in self.alerts.standing
        ]
        return {
            "phase": self.phase,
            "version": "0.1.0",
            "started_at": "2026-05-04T08:00:00+00:00",
            "uptime_s": 16_200.0,
            "store": {"kind": "postgresql", "ok": self.overview.is_up},
            "actors": {
                "conversations": self.in_memory,
                "parked": len(self.parked),
                "open_sockets": 2,
                "restarts": 0,
                "monitor": {**alive, "last_poll_at": "2026-05-04T12:29:50+00:00", "last_error": None},
                "reaper": alive,
                "recovery": alive,
                "inbox_check": {"alive": False, "restarts": 3},
                "outbox": alive,
                "transfer": {"configured": False},
            },
            "queues": {
                "inbound_pending": 1,
                "outbound_pending": 12,
                "outbound_in_doubt": 0,
                "dead_letters": 2,
            }
            if self.overview.is_up
            else None,
            "calls": {"live": len(self.overview.calls), "unfinished_recordings": 2}
            if self.overview.is_up
            else None,
            "event_loop_delay_s": 0.001,
            "alerts": alerts,
        }


@asynccontextmanager
async def serving_admin(
    daemon: AdminDaemon, **options: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, HttpServer]]:
    """A client of a new admin listener; `options` are httpx's. Takes at most 60 s."""

    async def ready() -> bool:
        return True

    async def measure() -> None: ...

    async def no_batch(_batch_id: str) -> Batch | None:
        return None

    guard = daemon.guard()
    routes = AdminRoutes(
        guard=guard,
        is_ready=ready,
        status=daemon.status,
        metrics=PrometheusMetrics(),
        measure=measure,
        overview=daemon.overview,
        identities_of=identities_of,
        post=daemon.post,
        release=daemon.release,
        process_batch=no_batch,
    )
    pages = AdminPages(
        guard=guard, status=daemon.status, overview=daemon.overview, parked=lambda: daemon.parked
    )
    app = make_app(
        "admin", [routes, pages], max_body_bytes=65536, request_timeout_s=10, count=lambda *_: None
    )
    server = HttpServer(
        app, name="admin", host="127.0.0.1", port=0, limits=ServerLimits(), headers=API_HEADERS
    )
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            host, port = await nursery.start(server.run)
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}", **options) as http:
                yield http, server
            nursery.cancel_scope.cancel()


def closed(summary: ConversationSummary) -> ConversationSummary:
    return evolve(summary, status="closed")
