"""The two listeners: their routes, and what each is let have. A part of the composition root."""

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen

from actors.alerts import Alerts
from actors.calls import Batch
from actors.conversation.identity import identities_of
from actors.conversation.mail import ConversationMessage, Nudge
from actors.ports import WallClock
from actors.runtime.registry import Registry
from actors.watch.call_intake import CallIntake
from actors.watch.status_intake import StatusIntake
from daemon.adapters import admin_guard
from daemon.elevenlabs.webhook import SignatureCheck as CallSignature
from daemon.elevenlabs.webhook import check_signature, read_call_news
from daemon.httpserver import App, HttpServer
from daemon.lifecycle import Lifecycle
from daemon.live_calls import LiveCalls
from daemon.observability.metrics import PrometheusMetrics
from daemon.rules import server_limits
from daemon.settings import Settings
from daemon.status import DaemonStatus
from daemon.store.inbox import PostgresInbox
from daemon.store.pool import Pool
from daemon.twilio.inbound import read_message, read_status
from daemon.twilio.signature import SignatureCheck
from daemon.voice.bridge import read_every_s
from daemon.web.admin.pages import AdminPages
from daemon.web.admin.routes import AdminRoutes
from daemon.web.app import Routes, make_app
from daemon.web.door import TwilioDoor
from daemon.web.elevenlabs import ElevenLabsWebhook
from daemon.web.express import Express
from daemon.web.headers import API_HEADERS, public_headers
from daemon.web.whatsapp import WhatsAppWebhooks


@frozen(kw_only=True)
class Listeners:
    """What the routes of both work with.

    Attributes:
        details_due: tells the call monitor that a call wants its details.
        process_batch: follow every finished recipient of a batch up now; None for an unknown batch.
        live_calls: None where no agent speaks; then there are no voice routes.
    """

    settings: Settings
    lifecycle: Lifecycle
    pool: Pool
    status: DaemonStatus
    conversations: Registry[ConversationMessage]
    intake: CallIntake
    statuses: StatusIntake
    details_due: Callable[[], None]
    process_batch: Callable[[str], Awaitable[Batch | None]]
    live_calls: LiveCalls | None
    clock: WallClock
    alerts: Alerts
    metrics: PrometheusMetrics

    def admin(self) -> HttpServer:
        settings, status = self.settings, self.status

        async def measure() -> None:
            self.metrics.queue_lengths(await status.queue_lengths())

        guard = admin_guard(settings, alerts=self.alerts, clock=self.clock)
        routes = AdminRoutes(
            guard=guard,
            is_ready=status.is_ready,
            status=status.report,
            metrics=self.metrics,
            measure=measure,
            overview=status.overview,
            identities_of=identities_of,
            post=self.conversations.post,
            release=self._release,
            process_batch=self.process_batch,
        )
        pages = AdminPages(
            guard=guard,
            status=status.report,
            overview=status.overview,
            parked=lambda: self.conversations.parked,
        )
        app = make_app(
            "admin",
            [routes, pages],
            max_body_bytes=settings.http.max_body_bytes,
            request_timeout_s=settings.http.request_timeout_s,
            count=self.metrics.http_request,
        )
        return HttpServer(
            app,
            name="admin",
            host=settings.admin.host,
            port=settings.admin.port,
            limits=server_limits(settings),
            headers=API_HEADERS,
        )

    def _release(self, person_id: int) -> bool:
        if person_id not in self.conversations.parked:
            return False
        self.conversations.release(person_id)
        return self.conversations.post(person_id, Nudge.LOOK)

    def public(self) -> HttpServer:
        settings = self.settings
        secrets = settings.secrets
        tokens = [secrets.twilio_auth_token, secrets.twilio_auth_token_secondary]
        is_signed = SignatureCheck(settings.http.public_url, tokens)
        whatsapp = self._whatsapp(is_signed)
        elevenlabs = ElevenLabsWebhook(
            is_signed=self._call_signature_check(),
            read=read_call_news,
            intake=self.intake,
            details_due=self.details_due,
            is_open=lambda: self.lifecycle.is_serving,
            max_body_bytes=settings.http.transcript_max_bytes,
            store_timeout_s=settings.http.request_timeout_s,
        )
        # A call that goes on is served while the daemon drains.
        voice: dict[str, Any] = {"is_signed": is_signed, "is_open": lambda: self.lifecycle.is_up}
        routes: list[Routes] = [elevenlabs]
        if self.live_calls is not None:
            routes.append(self.live_calls.sounds(**voice))
        app = make_app(
            "public",
            routes,
            max_body_bytes=settings.http.transcript_max_bytes,
            request_timeout_s=settings.http.request_timeout_s,
            count=self.metrics.http_request,
        )
        views = {**whatsapp.views, **(self.live_calls.views(**voice) if self.live_calls is not None else {})}
        served: App = Express(views=views, otherwise=app, count=self.metrics.http_request)
        if self.live_calls is not None:
            served = self.live_calls.stream_route(is_signed=is_signed, otherwise=served)
        return HttpServer(
            served,
            name="public",
            host=settings.http.host,
            port=settings.http.port,
            limits=server_limits(settings),
            headers=public_headers(settings.http.public_url),
            websocket_beat_s=read_every_s(settings.voice.uplink_frames),
        )

    def _whatsapp(self, is_signed: SignatureCheck) -> WhatsAppWebhooks:
        settings, secrets = self.settings, self.settings.secrets
        return WhatsAppWebhooks(
            door=TwilioDoor(
                account_sid=secrets.twilio_account_sid,
                max_body_bytes=settings.http.max_body_bytes,
                is_signed=is_signed.form,
                is_open=lambda: self.lifecycle.is_serving,
            ),
            inbox=PostgresInbox(self.pool),
            statuses=self.statuses,
            read_message=read_message,
            read_status=lambda form, query: read_status(form, message_id=query.get("m")),
            default_agent_id=settings.elevenlabs.text_agent_id,
            post=self.conversations.post,
            clock=self.clock,
            store_timeout_s=settings.http.request_timeout_s,
        )

    def _call_signature_check(self) -> Callable[[bytes, str | None], bool] | None:
        secret = self.settings.secrets.elevenlabs_webhook_secret
        if not secret:
            return None
        return lambda body, header: (
            check_signature(header, body, secret=secret, now=self.clock.now()) is CallSignature.GOOD
        )
