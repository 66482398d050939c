"""What an operator should know of settings that can be used."""

import re
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from daemon.settings.environment import how_to_set_secret, named_secrets
from daemon.settings.model import Settings
from daemon.settings.rules import is_lab_host, is_loopback_host

SANDBOX_NUMBER: Final = "+14155238886"
# One message in three seconds (Twilio docs: whatsapp/sandbox).
_SANDBOX_MESSAGES_PER_SECOND: Final = 0.34
_TOKEN_MIN_CHARACTERS: Final = 16
_POLITE_POLL_S: Final = 5.0
_SID_DIGITS: Final = "[0-9a-fA-F]{32}"


class Level(StrEnum):
    PROBLEM = "problem"
    """Something that is set will not work."""
    WARNING = "warning"
    """It works, and the operator would rather know before than after."""
    NOTE = "note"
    """How the daemon will behave."""
    FINE = "fine"
    """It was asked, and all is as it should be."""


@frozen(kw_only=True)
class Finding:
    """`key` is a setting's path or a secret's name; `mend` is empty where nothing has to be done."""

    level: Level
    key: str
    sentence: str
    mend: str = ""


def review(settings: Settings) -> list[Finding]:
    """Everything there is to say without asking anybody: problems first, notes last."""
    found = [finding for check in _CHECKS for finding in check(settings)]
    return by_gravity(found)


def by_gravity(findings: Iterable[Finding]) -> list[Finding]:
    """Problems first, notes last; otherwise in the order given."""
    return sorted(findings, key=lambda finding: list(Level).index(finding.level))


def _public_url(settings: Settings) -> Iterator[Finding]:
    url = settings.http.public_url
    if not url:
        return
    parts = urlsplit(url)
    if parts.scheme == "http":
        yield Finding(
            level=Level.WARNING,
            key="http.public_url",
            sentence="is plain http: messages and tokens travel in the clear",
            mend="put a TLS proxy in front and name its https address",
        )
    if is_lab_host(parts.hostname or "") and not settings.twilio.base_url:
        yield Finding(
            level=Level.WARNING,
            key="http.public_url",
            sentence="names a host that Twilio and ElevenLabs cannot reach: no reply will arrive",
            mend="name the address under which the TLS proxy is reached from the internet",
        )


def _listeners(settings: Settings) -> Iterator[Finding]:
    if not is_loopback_host(settings.http.host):
        yield Finding(
            level=Level.WARNING,
            key="http.host",
            sentence="is no loopback address: the public listener speaks plain HTTP to whoever reaches it",
            mend="keep 127.0.0.1 with a TLS proxy on this machine, or see that only the proxy reaches the port",
        )
    if not is_loopback_host(settings.admin.host):
        yield Finding(
            level=Level.WARNING,
            key="admin.host",
            sentence="is no loopback address: the admin token and conversations travel over plain HTTP",
            mend="keep 127.0.0.1 and reach it through a tunnel",
        )


def _store(settings: Settings) -> Iterator[Finding]:
    if settings.store.is_embedded:
        yield Finding(
            level=Level.NOTE,
            key="store.url",
            sentence=f"is not set: an embedded PostgreSQL keeps everything under {settings.store.data_dir.absolute()}",
            mend="fine for a trial; name a PostgreSQL server in DATABASE_URL for daily work",
        )
    elif _has_password(settings.store.url) and _is_from_file(settings, "store.url"):
        yield Finding(
            level=Level.WARNING,
            key="store.url",
            sentence="holds a password, and stands in the file",
            mend=how_to_set_secret("DATABASE_URL"),
        )


def _has_password(url: str) -> bool:
    authority = url.partition("://")[2].partition("/")[0]
    user, separator, _ = authority.rpartition("@")
    return bool(separator and ":" in user) or "password=" in url.partition("?")[2]


def _is_from_file(settings: Settings, key: str) -> bool:
    return not settings.origins.get(key, "").startswith(("environment variable", "credential file"))


def _templates(settings: Settings) -> Iterator[Finding]:
    if not settings.whatsapp.opening_template_sid:
        yield Finding(
            level=Level.WARNING,
            key="whatsapp.opening_template_sid",
            sentence="is not set: the opening is tried as free text, which WhatsApp refuses (63016) for everyone "
            "who has not written in the last 24 hours; such a conversation is shown as window_closed",
            mend="have a greeting approved as a UTILITY template and name its ContentSid (HX…)",
        )
    if not settings.whatsapp.reopen_template_sid:
        yield Finding(
            level=Level.NOTE,
            key="whatsapp.reopen_template_sid",
            sentence="is not set: an answer that is ready only after the person's 24 hours is tried as free text, "
            "and the conversation is shown as window_closed when WhatsApp refuses it (63016)",
            mend="have a short text that asks for a reply approved as a template and name its ContentSid (HX…)",
        )


def _sandbox(settings: Settings) -> Iterator[Finding]:
    if settings.twilio.whatsapp_from != SANDBOX_NUMBER:
        return
    yield Finding(
        level=Level.WARNING,
        key="twilio.whatsapp_from",
        sentence="is Twilio's sandbox: it reaches only people who sent it its join code in the last three days "
        "(63015 for others)",
        mend="register a WhatsApp sender of your own before going live",
    )
    if settings.whatsapp.messages_per_second > _SANDBOX_MESSAGES_PER_SECOND:
        yield Finding(
            level=Level.WARNING,
            key="whatsapp.messages_per_second",
            sentence="is more than the sandbox takes, which is one message in three seconds (63018)",
            mend="set it to 0.33 while the sandbox is the sender",
        )


def _webhook(settings: Settings) -> Iterator[Finding]:
    if not settings.secrets.elevenlabs_webhook_secret:
        yield Finding(
            level=Level.NOTE,
            key="ELEVENLABS_WEBHOOK_SECRET",
            sentence="is not set: the post-call webhook answers 404, and finished calls are found by asking every "
            f"{settings.monitor.poll_every_s:g} s",
            mend="for quicker openings " + how_to_set_secret("ELEVENLABS_WEBHOOK_SECRET"),
        )
    if settings.monitor.poll_every_s < _POLITE_POLL_S and not _is_lab(settings.elevenlabs.base_url):
        yield Finding(
            level=Level.WARNING,
            key="monitor.poll_every_s",
            sentence=f"is {settings.monitor.poll_every_s:g}: asking that often may meet ElevenLabs' rate limit",
            mend="raise it, and let the post-call webhook bring what is urgent",
        )


def _follow_up(settings: Settings) -> Iterator[Finding]:
    if not settings.follow_up.outcomes:
        yield Finding(
            level=Level.WARNING,
            key="follow_up",
            sentence="leaves every outcome without a message: no call goes on in WhatsApp",
            mend="set follow_up.completed to true, or give another outcome a text",
        )

    for outcome in settings.follow_up.texts:
        yield Finding(
            level=Level.WARNING,
            key=f"follow_up.{outcome.value}",
            sentence="goes as free text, which WhatsApp refuses (63016) for everyone who has not written in the "
            "last 24 hours: the opening's template speaks of a talk that did not take place",
        )


def _contact_hours(settings: Settings) -> Iterator[Finding]:
    if settings.contact_hours.enforce:
        yield Finding(
            level=Level.NOTE,
            key="contact_hours.enforce",
            sentence="has no effect yet: this release knows no contact hours, and openings go out at any hour",
            mend="let calls end at hours at which people may be written to",
        )


def _vendors(settings: Settings) -> Iterator[Finding]:
    for key, url, default_host in (
        ("elevenlabs.base_url", settings.elevenlabs.base_url, "elevenlabs.io"),
        ("twilio.base_url", settings.twilio.base_url, "twilio.com"),
    ):
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not url or f".{host}".endswith(f".{default_host}"):
            continue
        yield Finding(level=Level.NOTE, key=key, sentence=f"leads to {host}: a simulator or a proxy")
        if parts.scheme == "http" and not is_lab_host(host):
            yield Finding(
                level=Level.WARNING,
                key=key,
                sentence="is plain http: keys travel in the clear",
                mend="use https",
            )


def _is_lab(url: str) -> bool:
    return is_lab_host(urlsplit(url).hostname or "")


def _live_calls(settings: Settings) -> Iterator[Finding]:
    has_advisors = bool(settings.transfer.advisors)
    level = Level.PROBLEM if has_advisors else Level.NOTE
    if not settings.elevenlabs.voice_agent_id:
        yield Finding(
            level=level,
            key="elevenlabs.voice_agent_id",
            sentence="is not set: no agent can answer live calls",
            mend="set it, or the environment variable ELEVENLABS_AGENT_ID, where live calls are wanted",
        )
    if not settings.twilio.voice_number:
        yield Finding(
            level=level,
            key="twilio.voice_number",
            sentence="is not set: advisors cannot be dialled",
            mend="set it, or the environment variable TWILIO_NUMBER, where transfers are wanted",
        )
    elif not has_advisors:
        yield Finding(
            level=Level.NOTE,
            key="transfer.advisors",
            sentence="is empty: there is nobody to whom a caller could be put through",
        )
    if has_advisors and not settings.transfer.message_template_sid:
        yield Finding(
            level=Level.WARNING,
            key="transfer.message_template_sid",
            sentence="is not set: an advisor is told of a caller's message by free text, which WhatsApp refuses (63016) "
            "where they have not written in the last 24 hours",
            mend="have a text with a name and a link approved as a UTILITY template and name its ContentSid (HX…)",
        )
    if settings.twilio.voice_number and not settings.twilio.twiml_app_sid:
        yield Finding(
            level=Level.NOTE,
            key="twilio.twiml_app_sid",
            sentence="is not set: the agent answers on the caller's own leg, and is not heard while an advisor's "
            "phone rings",
        )


def _tokens(settings: Settings) -> Iterator[Finding]:
    secrets = settings.secrets
    if settings.transfer.advisors and not secrets.tool_token:
        yield Finding(
            level=Level.NOTE,
            key="RELEVO_TOOL_TOKEN",
            sentence="is not set: /voice/transfer/init refuses everybody",
            mend=how_to_set_secret("RELEVO_TOOL_TOKEN"),
        )
    if 0 < len(secrets.tool_token) < _TOKEN_MIN_CHARACTERS:
        yield Finding(
            level=Level.WARNING,
            key="RELEVO_TOOL_TOKEN",
            sentence="is short enough to be guessed",
            mend="make one with: openssl rand -hex 32",
        )
    if secrets.tool_token and secrets.tool_token == secrets.admin_token:
        yield Finding(
            level=Level.WARNING,
            key="RELEVO_TOOL_TOKEN",
            sentence="is the admin token: whoever may ask for a transfer may read every conversation",
            mend="make one of its own with: openssl rand -hex 32",
        )
    if secrets.twilio_auth_token and secrets.twilio_auth_token == secrets.twilio_auth_token_secondary:
        yield Finding(
            level=Level.NOTE,
            key="TWILIO_AUTH_TOKEN_SECONDARY",
            sentence="is the same as TWILIO_AUTH_TOKEN, and so adds nothing",
        )


# What examples have in the place of a value; none of it stands in what Twilio, ElevenLabs or openssl make.
_PLACEHOLDER: Final = re.compile(
    r"\.\.\.|…|<.*>|\$\{|\*\*\*|x{6}"
    r"|change[ _-]?(me|this)|replace[ _-]?(me|this)|place[ _-]?holder|fill[ _-]?in|\byour[_-]"
    r"|^(ac|ap|hx|sk_|agent_|wsec_)x+$|^(x+|to[ _-]?do|secret|password|none|null)$",
    re.IGNORECASE,
)


def _placeholders(settings: Settings) -> Iterator[Finding]:
    for key, value in {
        **named_secrets(settings.secrets),
        "http.public_url": settings.http.public_url,
        "elevenlabs.text_agent_id": settings.elevenlabs.text_agent_id,
        "elevenlabs.voice_agent_id": settings.elevenlabs.voice_agent_id,
        "twilio.twiml_app_sid": settings.twilio.twiml_app_sid,
        "whatsapp.opening_template_sid": settings.whatsapp.opening_template_sid,
        "whatsapp.reopen_template_sid": settings.whatsapp.reopen_template_sid,
        "transfer.message_template_sid": settings.transfer.message_template_sid,
    }.items():
        if value and _PLACEHOLDER.search(value):
            yield Finding(
                level=Level.PROBLEM,
                key=key,
                sentence="is still what an example has in its place",
                mend="put the true value there, or leave it out",
            )


def _shapes(settings: Settings) -> Iterator[Finding]:
    for key, sid, prefix in (
        ("TWILIO_ACCOUNT_SID", settings.secrets.twilio_account_sid, "AC"),
        ("twilio.twiml_app_sid", settings.twilio.twiml_app_sid, "AP"),
        ("whatsapp.opening_template_sid", settings.whatsapp.opening_template_sid, "HX"),
        ("whatsapp.reopen_template_sid", settings.whatsapp.reopen_template_sid, "HX"),
        ("transfer.message_template_sid", settings.transfer.message_template_sid, "HX"),
    ):
        if sid and not _PLACEHOLDER.search(sid) and not re.fullmatch(prefix + _SID_DIGITS, sid):
            yield Finding(
                level=Level.WARNING,
                key=key,
                sentence=f"does not look like one of Twilio's, which are {prefix} and 32 hexadecimal digits",
                mend="copy it from the Twilio console again",
            )


_CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _public_url,
    _listeners,
    _store,
    _templates,
    _sandbox,
    _placeholders,
    _shapes,
    _tokens,
    _webhook,
    _follow_up,
    _contact_hours,
    _vendors,
    _live_calls,
)
