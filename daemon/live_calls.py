"""The live calls of a daemon, plugged together. A part of the composition root.

They are there where the settings name a voice agent. Without a TwiML App, or a number to dial from, the agent takes the
caller's own leg.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial

import trio
from attrs import define, field

from actors.alerts import Alerts
from actors.conversation.identity import canonical_number
from actors.live_call import paths
from actors.live_call.actor import LiveCallActor
from actors.live_call.events import Recorded
from actors.live_call.mail import CallMessage, Nudge
from actors.live_call.mixing import MusicBed
from actors.live_call.script import Script
from actors.live_call.state import Mode
from actors.live_call.switchboard import Switchboard
from actors.live_call.telephony import Telephony
from actors.live_call.transfer_desk import Advisor, Advisors, TransferDesk
from actors.live_call.voicemail import Voicemail
from actors.live_call.wording import Words
from actors.live_call.world import ActiveCalls, Lines, LiveCallWorld
from actors.messages import Purpose
from actors.ports import AgentSessions, WallClock
from actors.runtime.mailbox import Mailbox
from actors.runtime.registry import Registry
from actors.runtime.supervisor import RestartIntensity, RunChild, Supervisor
from daemon.elevenlabs.speech import Speech
from daemon.observability.metrics import PrometheusMetrics
from daemon.rules import bed_rules, live_call_rules, voicemail_rules
from daemon.settings import Settings
from daemon.store.live_calls import PostgresLiveCalls
from daemon.store.pool import Pool, PoolShare
from daemon.store.recordings import PostgresRecordings
from daemon.twilio import voice_inbound
from daemon.twilio.signature import SignatureCheck
from daemon.twilio.twiml import Twiml
from daemon.voice.bridge import BridgeRules
from daemon.voice.music import HoldMusic
from daemon.voice.stream_route import Application, StreamRoute
from daemon.web.door import TwilioDoor
from daemon.web.express import View
from daemon.web.transfer import TransferRoute
from daemon.web.voice import VoiceReaders, VoiceRoutes
from daemon.web.voice_links import RecordingLinks, StreamTokens
from daemon.web.voice_sounds import AUDIO, RECORDINGS, VoiceSounds, music_url

MAILBOX_SIZE = 256
PARK_S = 60.0
DIAL_TIMEOUT_S = 8.0


def voice_key(settings: Settings) -> bytes:
    """The key of stream tokens and recording links. Slow to make, so that a link is no way to try admin tokens at leisure."""
    token = settings.secrets.admin_token.encode()
    return hashlib.scrypt(token, salt=b"relevo voice links", n=2**14, r=8, p=1, dklen=32)


def advisors_of(settings: Settings) -> list[Advisor]:
    """The settings' advisors; nobody where there is no number to dial them from."""
    if not settings.twilio.voice_number:
        return []
    return [
        Advisor(name=one.name, phone=one.phone, whatsapp=one.whatsapp or one.phone, topics=one.topics)
        for one in settings.transfer.advisors
    ]


@define(eq=False, kw_only=True)
class LiveCalls:
    """What live calls are made of.

    Attributes:
        details_due: tells the call monitor that a call's details are wanted.
        outbox_due: tells the outbox that a person has something to send.
    """

    settings: Settings
    pool: Pool
    share: PoolShare
    telephony: Telephony
    speech: Speech
    sessions: AgentSessions
    music: HoldMusic
    supervisor: Supervisor
    details_due: Callable[[], None]
    outbox_due: Callable[[int, Purpose], None]
    clock: WallClock
    alerts: Alerts
    metrics: PrometheusMetrics
    active: ActiveCalls = field(factory=ActiveCalls, init=False)
    advisors: Advisors = field(init=False)
    words: Words = field(init=False)
    tokens: StreamTokens = field(init=False)
    links: RecordingLinks = field(init=False)
    voicemail: Voicemail = field(init=False)
    calls: Registry[CallMessage] = field(init=False)
    switchboard: Switchboard = field(init=False)
    stream: StreamRoute | None = field(default=None, init=False)
    _is_draining: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        settings, key = self.settings, voice_key(self.settings)
        self.advisors = Advisors(advisors_of(settings))
        self.words = Words(
            settings.word_sources, notice_variables=settings.transfer.message_template_variables
        )
        self.tokens = StreamTokens(key)
        self.links = RecordingLinks(
            key, settings.http.public_url, RECORDINGS, settings.voice.recording_link_hours
        )
        self.voicemail = self._make_voicemail()
        self.calls = self._make_calls()
        has_app = bool(settings.twilio.twiml_app_sid and settings.twilio.voice_number)
        self.switchboard = Switchboard(
            store=PostgresLiveCalls(self.pool),
            post=self.calls.post,
            tokens=self.tokens,
            clock=self.clock,
            mode=Mode.CONFERENCE if has_app else Mode.DIRECT,
            active=self.active,
            calls_max=settings.voice.calls_max,
        )
        self.metrics.watch("live_calls_open", "Live calls that go on.", lambda: len(self.active))

    @property
    def watchers(self) -> Mapping[str, RunChild]:
        """What is to be kept running."""
        desk = TransferDesk(
            store=PostgresLiveCalls(self.share),
            telephony=self.telephony,
            nudge=lambda live_call_id: self.calls.post(live_call_id, Nudge()),
            alerts=self.alerts,
            sweep_every_s=self.settings.voice.sweep_every_s,
        )
        return {
            "transfer_desk": desk.run,
            "voicemail": self.voicemail.run,
            "hold_music": self.music.run,
            "speech": partial(self.speech.run, self._script().prepare),
        }

    def begin_drain(self) -> None:
        """Take no new calls; those that go on are served as before."""
        self._is_draining = True

    async def drain(self) -> None:
        """Wait for the calls to end. Whatever is left when that is cancelled is taken up by the next daemon."""
        await self.active.until_none()

    def close(self) -> None:
        """From now on calls learn of nothing more: what ends with the daemon must not look as if it had ended."""
        if self.stream is not None:
            self.stream.begin_drain()
        self.calls.close()

    def views(self, *, is_signed: SignatureCheck, is_open: Callable[[], bool]) -> Mapping[str, View]:
        """The POST routes, by path."""
        settings = self.settings
        routes = VoiceRoutes(
            door=self._door(is_signed, is_open),
            takes_calls=lambda: not self._is_draining,
            switchboard=self.switchboard,
            script=self._script(),
            read=VoiceReaders(
                incoming=voice_inbound.read_incoming_call,
                agent=voice_inbound.read_agent_call,
                leg=voice_inbound.read_leg_report,
                room=voice_inbound.read_room_report,
                keys=voice_inbound.read_keys,
                after=voice_inbound.read_after,
                recording=voice_inbound.read_recording_report,
                record=voice_inbound.read_record_report,
            ),
            write=self._twiml.write,
            store_timeout_s=settings.http.request_timeout_s,
        )
        transfer = TransferRoute(
            token=settings.secrets.tool_token,
            switchboard=self.switchboard,
            advisors=self.advisors,
            number_of=canonical_number,
            is_open=is_open,
            max_body_bytes=settings.http.max_body_bytes,
            store_timeout_s=settings.http.request_timeout_s,
            dial_timeout_s=DIAL_TIMEOUT_S,
        )
        return {**routes.views, paths.TRANSFER_INIT: transfer.init}

    def sounds(self, *, is_signed: SignatureCheck, is_open: Callable[[], bool]) -> VoiceSounds:
        """The GET routes."""
        return VoiceSounds(
            door=self._door(is_signed, is_open),
            public_url=self.settings.http.public_url,
            write=self._twiml.write,
            music=lambda: self.music.file,
            speech=self.speech.content_of,
            recording_of=self.links.read,
            kept=PostgresRecordings(self.pool).kept,
            store_timeout_s=self.settings.http.request_timeout_s,
        )

    def stream_route(self, *, is_signed: SignatureCheck, otherwise: Application) -> StreamRoute:
        """Media streams, and everything else to `otherwise`."""

        def is_upgrade_signed(headers: Mapping[str, str], target: str) -> bool:
            return is_signed.upgrade(target, headers.get("x-twilio-signature")) is not None

        voice = self.settings.voice
        self.stream = StreamRoute(
            path=paths.STREAM,
            otherwise=otherwise,
            sessions=self.sessions,
            make_bed=lambda: MusicBed(self.music.samples, bed_rules(self.settings)),
            admit=self.switchboard.admit,
            rules=BridgeRules(),
            is_signed=is_upgrade_signed if voice.require_stream_signature else None,
            # An agent that is put back streams while its predecessor is still going.
            streams_max=2 * voice.calls_max,
        )
        return self.stream

    @property
    def _twiml(self) -> Twiml:
        return Twiml(public_url=self.settings.http.public_url)

    def _door(self, is_signed: SignatureCheck, is_open: Callable[[], bool]) -> TwilioDoor:
        return TwilioDoor(
            account_sid=self.settings.secrets.twilio_account_sid,
            max_body_bytes=self.settings.http.max_body_bytes,
            is_signed=is_signed.form,
            is_query_signed=is_signed.query,
            is_open=is_open,
        )

    def _script(self) -> Script:
        settings = self.settings
        return Script(
            words=self.words,
            voice=self.speech,
            tokens=self.tokens,
            audio_url=f"{settings.http.public_url}{AUDIO}",
            own_music_url=lambda: music_url(settings.http.public_url, self.music.file),
            lost_music_url=settings.transfer.hold_music_url or None,
            call_max_s=settings.voice.call_max_s,
            advisor_talk_max_s=settings.voice.advisor_talk_max_s,
            recording_max_s=settings.voice.recording_max_s,
        )

    def _make_voicemail(self) -> Voicemail:
        return Voicemail(
            store=PostgresRecordings(self.share),
            telephony=self.telephony,
            advisors=self.advisors,
            words=self.words,
            rules=voicemail_rules(self.settings),
            link_of=self.links.link_of,
            report=self._report_recording,
            outbox_due=self.outbox_due,
            clock=self.clock,
            alerts=self.alerts,
        )

    async def _report_recording(self, live_call_id: int, event: Recorded) -> None:
        # The switchboard is made after the voicemail, which the calls know.
        await self.switchboard.tell(live_call_id, event)

    def _make_calls(self) -> Registry[CallMessage]:
        world = LiveCallWorld(
            # A caller does not wait behind actors that have all the time in the world.
            store=PostgresLiveCalls(self.pool),
            recordings=PostgresRecordings(self.pool),
            telephony=self.telephony,
            voice=self.speech,
            advisors=self.advisors,
            words=self.words,
            lines=Lines(),
            active=self.active,
            tokens=self.tokens,
            alerts=self.alerts,
            metrics=self.metrics,
            clock=self.clock,
            details_due=self.details_due,
            recordings_due=self.voicemail.due,
        )
        rules = live_call_rules(self.settings)

        def make_run(live_call_id: int, mailbox: Mailbox[CallMessage]) -> RunChild:
            # Made anew for every life: what a crashed one believed must not outlive it.
            async def run(*, task_status: trio.TaskStatus[None]) -> None:
                actor = LiveCallActor(live_call_id, mailbox, world=world, rules=rules)
                await actor.run(task_status=task_status)

            return run

        return Registry(
            self.supervisor,
            make_run,
            kind="live call",
            mailbox_size=MAILBOX_SIZE,
            intensity=RestartIntensity(),
            park_s=PARK_S,
            on_parked=partial(self._parked, is_parked=True),
            on_released=partial(self._parked, is_parked=False),
        )

    def _parked(self, live_call_id: int, *, is_parked: bool) -> None:
        key = f"parked_call_{live_call_id}"
        if is_parked:
            self.alerts.raise_alert(key, f"live call {live_call_id} crashes again and again")
        else:
            self.alerts.settle(key)
