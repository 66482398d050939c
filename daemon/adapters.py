"""The adapters, made from the settings; what has to be closed is open for as long as a block runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import trio
from attrs import frozen
from twilio.rest import Client  # type: ignore[import-untyped]

from actors.alerts import Alerts
from actors.ports import WallClock
from daemon.elevenlabs.agent_socket import AgentSessions
from daemon.elevenlabs.rest import RestApi
from daemon.elevenlabs.speech import Speech
from daemon.rules import lockout_rules
from daemon.settings import Settings
from daemon.store.embedded import embedded_server
from daemon.store.migrate import migrate
from daemon.store.pool import Pool, PoolLimits, PoolShare, open_pool
from daemon.twilio.messaging import TwilioMessaging
from daemon.twilio.telephony import TwilioTelephony
from daemon.twilio.transport import Limits, Transport, open_transport, sdk_client
from daemon.voice.music import HoldMusic
from daemon.web.admin.guard import AdminGuard
from daemon.web.admin.lockout import Lockout
from daemon.web.admin.session import Sessions

SEND_TIMEOUT_S = 10.0
"""For one frame to an agent; frames are small and the socket's buffer takes them at once."""


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


def pool_share(settings: Settings, pool: Pool) -> PoolShare:
    """What the actors have of the pool; the rest is for requests that are answered while somebody waits."""
    store = settings.store
    return PoolShare(
        pool,
        at_most=max(1, store.pool_size - store.reserved_connections),
        patience_s=store.actor_patience_s,
    )


@asynccontextmanager
async def open_elevenlabs(settings: Settings) -> AsyncIterator[RestApi]:
    # Without a limit of its own, of which httpcore can lose a slot to each cancelled request (encode/httpcore issue
    # 1093): whoever asks has one. Sessions have `connect_concurrency`, details `details_concurrency`.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=45.0)
    async with httpx.AsyncClient(timeout=settings.elevenlabs.request_timeout_s, limits=limits) as http:
        yield RestApi(
            client=http,
            base_url=settings.elevenlabs.base_url,
            api_key=settings.secrets.elevenlabs_api_key,
            timeout_s=settings.elevenlabs.request_timeout_s,
            answer_max_bytes=settings.http.transcript_max_bytes,
        )


@frozen(kw_only=True)
class TwilioApi:
    """Twilio's REST API: the SDK's client and what it travels over."""

    transport: Transport
    client: Client


@asynccontextmanager
async def open_twilio(settings: Settings) -> AsyncIterator[TwilioApi]:
    async with open_transport(Limits(deadline_s=settings.twilio.request_timeout_s)) as transport:
        client = sdk_client(
            transport,
            account_sid=settings.secrets.twilio_account_sid,
            auth_token=settings.secrets.twilio_auth_token,
            base_url=settings.twilio.base_url,
        )
        yield TwilioApi(transport=transport, client=client)


def messaging(settings: Settings, api: TwilioApi, clock: WallClock) -> TwilioMessaging:
    return TwilioMessaging(
        client=api.client,
        sender=settings.twilio.whatsapp_from,
        public_url=settings.http.public_url,
        clock=clock,
        vendor_now=api.transport.vendor_now,
    )


def telephony(settings: Settings, api: TwilioApi, clock: WallClock) -> TwilioTelephony:
    return TwilioTelephony(
        client=api.client,
        transport=api.transport,
        number=settings.twilio.voice_number,
        app_sid=settings.twilio.twiml_app_sid,
        public_url=settings.http.public_url,
        clock=clock,
    )


def speech(settings: Settings, api: RestApi, alerts: Alerts) -> Speech:
    return Speech(
        api=api,
        agent_id=settings.elevenlabs.voice_agent_id,
        folder=settings.store.data_dir / "speech",
        alerts=alerts,
        cache_max_mib=settings.voice.speech_cache_mib,
    )


@asynccontextmanager
async def open_music(settings: Settings, alerts: Alerts) -> AsyncIterator[HoldMusic]:
    """The hold music: the daemon's own at once, and the company's once its watcher has fetched it."""
    async with httpx.AsyncClient() as client:
        yield HoldMusic(url=settings.transfer.hold_music_url, client=client, alerts=alerts)


def agent_sessions(
    settings: Settings,
    api: RestApi,
    *,
    start_timeout_s: float | None = None,
    on_frame: Callable[[str, str], None] | None = None,
) -> AgentSessions:
    return AgentSessions(
        sign=api.signed_url,
        start_timeout_s=start_timeout_s or settings.elevenlabs.start_timeout_s,
        send_timeout_s=SEND_TIMEOUT_S,
        connects=trio.CapacityLimiter(settings.elevenlabs.connect_concurrency),
        on_frame=on_frame,
    )


def admin_guard(settings: Settings, *, alerts: Alerts, clock: WallClock) -> AdminGuard:
    token = settings.secrets.admin_token
    return AdminGuard(
        token=token,
        sessions=Sessions(token, settings.admin.session_hours, lambda: clock.now().timestamp()),
        lockout=Lockout(lockout_rules(settings)),
        alerts=alerts,
    )
