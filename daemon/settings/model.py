"""Every setting: one class per table of `config.toml`, where each key is explained.

Annotations carry the rules (`daemon.settings.rules`) that `load_settings` applies; a table made in code is
taken as it is. An empty text means "not set".
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias

from attrs import Factory, asdict, field, frozen

from actors.calls import CallOutcome
from actors.conversation.texts import TextSources
from actors.live_call.wording import WordSources
from daemon.settings import rules, spanish
from daemon.settings.rules import Between, CallText

_HOUR_S = 3600
_DAY_S = 86400

Deadline: TypeAlias = Annotated[float, Between(0.01, _HOUR_S)]
"""A wait that must end: nothing to wait for would be no deadline."""
Pause: TypeAlias = Annotated[float, Between(0, _HOUR_S)]
Period: TypeAlias = Annotated[float, Between(0.01, 30 * _DAY_S)]
Port: TypeAlias = Annotated[int, Between(0, 65535)]
"""0 lets the system choose."""
Host: TypeAlias = Annotated[str, rules.trimmed, rules.not_blank]
Identifier: TypeAlias = Annotated[str, rules.trimmed]
FollowUpText: TypeAlias = Annotated[str, CallText(is_optional=True)]


@frozen(kw_only=True)
class HttpSettings:
    host: Host = "127.0.0.1"
    port: Port = 3001
    public_url: Annotated[str, rules.public_url] = ""
    max_body_bytes: Annotated[int, Between(1024, 64 * 1024**2)] = 64 * 1024
    transcript_max_bytes: Annotated[int, Between(1024, 256 * 1024**2)] = 8 * 1024**2
    drain_s: Pause = 20.0
    connections_max: Annotated[int, Between(1, 100_000)] = 1000
    head_timeout_s: Deadline = 10.0
    keep_alive_s: Deadline = 75.0
    request_timeout_s: Deadline = 10.0


@frozen(kw_only=True)
class AdminSettings:
    host: Host = "127.0.0.1"
    port: Port = 3002
    session_hours: Annotated[float, Between(0.01, 24 * 30)] = 12.0
    guesses_max: Annotated[int, Between(1, 1000)] = 10
    all_guesses_max: Annotated[int, Between(1, 100_000)] = 50
    lock_max_s: Annotated[float, Between(30, _DAY_S)] = 900.0


@frozen(kw_only=True)
class StoreSettings:
    # May hold a password.
    url: Annotated[str, rules.store_url] = field(default="", repr=False)
    data_dir: Path = Path("var/relevo")
    pool_size: Annotated[int, Between(1, 500)] = 8
    acquire_timeout_s: Deadline = 5.0
    reserved_connections: Annotated[int, Between(0, 499)] = 2
    actor_patience_s: Deadline = 60.0
    statement_timeout_s: Deadline = 10.0
    connect_timeout_s: Deadline = 10.0

    @property
    def is_embedded(self) -> bool:
        return not self.url


@frozen(kw_only=True)
class ElevenLabsSettings:
    base_url: Annotated[str, rules.api_base, rules.not_blank] = "https://api.elevenlabs.io"
    text_agent_id: Identifier = ""
    voice_agent_id: Identifier = ""
    text_agents: Mapping[str, Identifier] = Factory(dict)
    start_timeout_s: Deadline = 30.0
    request_timeout_s: Deadline = 15.0
    connect_concurrency: Annotated[int, Between(1, 1000)] = 8
    connects_per_second: Annotated[float, Between(0.1, 10_000)] = 10.0
    refused_retry_first_s: Deadline = 30.0
    refused_retry_max_s: Deadline = 600.0


@frozen(kw_only=True)
class TwilioSettings:
    """`whatsapp_from` is in E.164."""

    whatsapp_from: Annotated[str, rules.whatsapp_number] = ""
    voice_number: Annotated[str, rules.phone_number] = ""
    twiml_app_sid: Identifier = ""
    base_url: Annotated[str, rules.web_origin] = ""
    request_timeout_s: Deadline = 15.0


@frozen(kw_only=True)
class WhatsAppSettings:
    opening_template_sid: Identifier = ""
    opening_template_variables: Annotated[Mapping[str, str], rules.template_variables] = Factory(
        lambda: {"1": spanish.TEMPLATE_NAME}
    )
    reopen_template_sid: Identifier = ""
    reopen_template_variables: Annotated[Mapping[str, str], rules.template_variables] = Factory(
        lambda: {"1": spanish.TEMPLATE_NAME}
    )
    messages_per_second: Annotated[float, Between(0.01, 1000)] = 80.0
    person_burst: Annotated[int, Between(1, 45)] = 10
    person_every_s: Pause = 6.0
    missed_check_every_s: Deadline = 120.0
    missed_after_s: Deadline = 30.0


@frozen(kw_only=True)
class ConversationSettings:
    open_socket: Literal["call_end", "reply"] = "call_end"
    idle_close_s: Period = 1800.0
    reap_every_s: Deadline = 300.0
    reply_timeout_s: Deadline = 60.0
    settle_s: Pause = 1.0
    coalesce_s: Pause = 1.0
    coalesce_max_s: Pause = 8.0
    max_open_sockets: Annotated[int, Between(1, 100_000)] = 500
    inbound_per_minute: Annotated[int, Between(1, 6000)] = 20
    turn_text_max: Annotated[int, Between(100, 1_000_000)] = 8000
    retire_after_s: Period = 60.0
    attempts_max: Annotated[int, Between(1, 100)] = 4
    retry_first_s: Deadline = 1.0
    retry_max_s: Deadline = 60.0
    unanswered_retry_first_s: Period = 60.0
    unanswered_retry_max_s: Period = 3600.0
    recover_every_s: Deadline = 15.0
    mailbox_size: Annotated[int, Between(1, 100_000)] = 64
    history_messages: Annotated[int, Between(0, 1000)] = 20


@frozen(kw_only=True)
class MonitorSettings:
    poll_every_s: Deadline = 15.0
    lookback_hours: Annotated[float, Between(0.1, 24 * 90)] = 24.0
    analysis_timeout_s: Annotated[float, Between(0, _DAY_S)] = 600.0
    details_concurrency: Annotated[int, Between(1, 100)] = 4


@frozen(kw_only=True)
class OutboxSettings:
    sweep_every_s: Deadline = 2.0
    settle_unknown_after_s: Pause = 5.0
    certain_after_s: Pause = 20.0
    retry_first_s: Deadline = 1.0
    retry_max_s: Deadline = 300.0
    give_up_after_s: Period = 86400.0
    concurrency: Annotated[int, Between(1, 1000)] = 16
    breaker_openings: Annotated[int, Between(1, 1000)] = 20
    breaker_openings_min: Annotated[int, Between(1, 1000)] = 10
    breaker_failed_share: Annotated[float, Between(0.01, 1)] = 0.5
    breaker_pause_s: Period = 900.0
    breaker_probes: Annotated[int, Between(1, 100)] = 3


@frozen(kw_only=True)
class FollowUpSettings:
    completed: bool = True
    voicemail: FollowUpText = ""
    no_answer: FollowUpText = ""
    busy: FollowUpText = ""
    failed: FollowUpText = ""

    @property
    def texts(self) -> Mapping[CallOutcome, str]:
        """By outcome; calls that were completed have the opening instead."""
        texts = {
            CallOutcome.VOICEMAIL: self.voicemail,
            CallOutcome.NO_ANSWER: self.no_answer,
            CallOutcome.BUSY: self.busy,
            CallOutcome.FAILED: self.failed,
        }
        return {outcome: text for outcome, text in texts.items() if text}

    @property
    def outcomes(self) -> frozenset[CallOutcome]:
        """Outcomes after which a person gets a message."""
        return frozenset([*self.texts, *([CallOutcome.COMPLETED] if self.completed else [])])


@frozen(kw_only=True)
class TextSettings:
    timezone: Annotated[str, rules.time_zone] = "America/Bogota"
    opening: Annotated[str, CallText(needs_summary=True)] = spanish.OPENING
    opening_without_summary: Annotated[str, CallText()] = spanish.OPENING_WITHOUT_SUMMARY
    fallback: Annotated[str, rules.plain_text] = spanish.FALLBACK
    left_out: Annotated[str, rules.counting_text] = spanish.LEFT_OUT


@frozen(kw_only=True)
class Advisor:
    """A person to whom a caller can be put through. `whatsapp` is empty where it is the same number."""

    name: Annotated[str, rules.trimmed, rules.not_blank]
    phone: Annotated[str, rules.phone_number, rules.not_blank]
    whatsapp: Annotated[str, rules.whatsapp_number] = ""
    topics: Sequence[str] = ()


@frozen(kw_only=True)
class TransferSettings:
    # 600 s is the longest that Twilio lets a phone ring (Twilio docs: voice/api/call-resource, Timeout).
    ring_timeout_s: Annotated[float, Between(0.01, 600)] = 25.0
    hold_music_url: Annotated[str, rules.media_url] = ""
    message_template_sid: Identifier = ""
    message_template_variables: Annotated[Mapping[str, str], rules.word_variables] = Factory(
        lambda: {"1": spanish.NOTICE_NAME, "2": spanish.NOTICE_LINK}
    )
    advisors: Sequence[Advisor] = ()


@frozen(kw_only=True)
class VoiceSettings:
    """Live calls."""

    calls_max: Annotated[int, Between(1, 10_000)] = 100
    call_max_s: Annotated[int, Between(60, 14_400)] = 3600
    advisor_talk_max_s: Annotated[int, Between(60, 14_400)] = 3600
    agent_join_s: Deadline = 12.0
    agent_start_s: Deadline = 10.0
    accept_s: Deadline = 25.0
    uplink_frames: Annotated[int, Between(1, 5)] = 2
    music_level: Annotated[float, Between(0, 1)] = 0.6
    music_ducked_level: Annotated[float, Between(0, 1)] = 0.15
    speech_cache_mib: Annotated[int, Between(1, 100_000)] = 200
    recording_max_s: Annotated[int, Between(5, 600)] = 120
    recording_link_hours: Annotated[int, Between(1, 24 * 30)] = 72
    keep_recordings_at_twilio: bool = False
    sweep_every_s: Deadline = 10.0
    follow_up: bool = True
    require_stream_signature: bool = False


WordText: TypeAlias = Annotated[str, rules.word_text]


@frozen(kw_only=True)
class VoiceTextSettings:
    """See `actors.live_call.wording.WordSources`."""

    whisper: WordText = spanish.WHISPER
    press_one: WordText = spanish.PRESS_ONE
    caller_gone: WordText = spanish.CALLER_GONE
    busy: WordText = spanish.BUSY
    menu: WordText = spanish.MENU
    voicemail: WordText = spanish.VOICEMAIL
    nothing_recorded: WordText = spanish.NOTHING_RECORDED
    recorded: WordText = spanish.RECORDED
    goodbye: WordText = spanish.GOODBYE
    tool_calling: WordText = spanish.TOOL_CALLING
    tool_nobody: WordText = spanish.TOOL_NOBODY
    tool_recording: WordText = spanish.TOOL_RECORDING
    tool_not_now: WordText = spanish.TOOL_NOT_NOW
    told_calling: WordText = spanish.TOLD_CALLING
    told_nobody: WordText = spanish.TOLD_NOBODY
    told_missed: WordText = spanish.TOLD_MISSED
    told_joined: WordText = spanish.TOLD_JOINED
    told_left: WordText = spanish.TOLD_LEFT
    back_after_loss: WordText = spanish.BACK_AFTER_LOSS
    back_after_missed: WordText = spanish.BACK_AFTER_MISSED
    back_after_advisor: WordText = spanish.BACK_AFTER_ADVISOR
    notice: WordText = spanish.NOTICE
    note_talked: WordText = spanish.NOTE_TALKED
    note_missed: WordText = spanish.NOTE_MISSED
    note_message: WordText = spanish.NOTE_MESSAGE


@frozen(kw_only=True)
class ContactHoursSettings:
    enforce: bool = True


@frozen(kw_only=True)
class LogSettings:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


@frozen(kw_only=True)
class Secrets:
    """Empty where not set. Never shown by `repr`."""

    elevenlabs_api_key: str = field(default="", repr=False)
    elevenlabs_webhook_secret: str = field(default="", repr=False)
    twilio_account_sid: str = field(default="", repr=False)
    twilio_auth_token: str = field(default="", repr=False)
    twilio_auth_token_secondary: str = field(default="", repr=False)
    admin_token: str = field(default="", repr=False)
    tool_token: str = field(default="", repr=False)


@frozen(kw_only=True)
class Settings:
    """All of them. Every attribute but the last two is a table of `config.toml`.

    Attributes:
        origins: where the values came from, by key or name of the secret; what is left out has its default.
    """

    http: HttpSettings = HttpSettings()
    admin: AdminSettings = AdminSettings()
    store: StoreSettings = StoreSettings()
    elevenlabs: ElevenLabsSettings = ElevenLabsSettings()
    twilio: TwilioSettings = TwilioSettings()
    whatsapp: WhatsAppSettings = WhatsAppSettings()
    conversation: ConversationSettings = ConversationSettings()
    monitor: MonitorSettings = MonitorSettings()
    outbox: OutboxSettings = OutboxSettings()
    follow_up: FollowUpSettings = FollowUpSettings()
    texts: TextSettings = TextSettings()
    transfer: TransferSettings = TransferSettings()
    voice: VoiceSettings = VoiceSettings()
    voice_texts: VoiceTextSettings = VoiceTextSettings()
    contact_hours: ContactHoursSettings = ContactHoursSettings()
    log: LogSettings = LogSettings()
    secrets: Secrets = Secrets()
    origins: Mapping[str, str] = field(factory=lambda: MappingProxyType({}), eq=False, repr=False)

    @property
    def text_sources(self) -> TextSources:
        return TextSources(
            opening=self.texts.opening,
            opening_without_summary=self.texts.opening_without_summary,
            fallback=self.texts.fallback,
            left_out=self.texts.left_out,
            follow_ups=self.follow_up.texts,
            opening_variables=self.whatsapp.opening_template_variables,
            reopen_variables=self.whatsapp.reopen_template_variables,
        )

    @property
    def word_sources(self) -> WordSources:
        return WordSources(**asdict(self.voice_texts))
