"""Twilio's messaging webhooks, read. Pure.

Fields as in the Twilio docs: messaging/guides/webhook-request and track-outbound-message-status.
"""

import re
from collections.abc import Mapping
from typing import Final

from actors.conversation.identity import identities_of
from actors.messages import BadFieldError, DeliveryStatus, InboundMessage, StatusReport

_CHANNEL: Final = "whatsapp:"
_SID: Final = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")
_ADDRESS: Final = re.compile(r"\+[0-9]{5,15}|[A-Za-z]{2}\.[A-Za-z0-9]{1,137}")
_KIND: Final = re.compile(r"[a-z_]{1,30}")
_ID_MAX: Final = 2**63 - 1
_ERROR_CODE_MAX: Final = 2**31 - 1

_DESCRIPTIONS: Final = {
    "text": "[mensaje vacío]",
    "image": "[imagen]",
    "audio": "[nota de voz]",
    "voice": "[nota de voz]",
    "video": "[video]",
    "document": "[documento]",
    "media": "[archivo adjunto]",
    "sticker": "[sticker]",
    "location": "[ubicación]",
    "contacts": "[contacto]",
    "button": "[botón]",
    "interactive": "[respuesta interactiva]",
}
_UNKNOWN_KIND: Final = "[mensaje de un tipo que no se puede mostrar]"
# Of these the text is only what goes with it: the agent has to know that there is more.
_CAPTIONED: Final = frozenset(
    {"image", "audio", "voice", "video", "document", "media", "sticker", "contacts"}
)

_NEWS: Final = {
    status.label: status
    for status in (
        DeliveryStatus.SENT,
        DeliveryStatus.DELIVERED,
        DeliveryStatus.READ,
        DeliveryStatus.UNDELIVERED,
        DeliveryStatus.FAILED,
    )
}


def read_message(form: Mapping[str, str]) -> InboundMessage:
    """An inbound message. Unknown fields are kept; NUL, which PostgreSQL cannot store, is left out of all.

    Raises:
        BadFieldError: an identifier, the sender or a number in the form is not what Twilio sends.
    """
    fields = _without_nul(form)
    sid = _sid(fields)
    address = _address(fields)
    identities = identities_of(address, fields.get("ExternalUserId"))
    if not identities:
        raise BadFieldError("From", "a withheld number")
    kind = _kind(fields)
    return InboundMessage(
        sid=sid,
        address=address,
        identities=identities,
        phone_number=next((name for name in identities if name.startswith("+")), None),
        profile_name=fields.get("ProfileName", "").strip() or None,
        kind=kind,
        text=_text(kind, fields),
        fields=fields,
    )


def read_status(form: Mapping[str, str], *, message_id: str | None) -> StatusReport:
    """A status of one of our messages; `message_id` is the query parameter `m` of the callback's URL.

    Raises:
        BadFieldError: the SID, the status, the error code or `m` is missing or is not what it should be.
    """
    status = form.get("MessageStatus") or form.get("SmsStatus")
    if not status:
        raise BadFieldError("MessageStatus", "missing")
    return StatusReport(
        message_id=_whole("m", message_id),
        sid=_sid(form),
        status=_NEWS.get(status.lower()),
        error_code=_whole("ErrorCode", form.get("ErrorCode"), most=_ERROR_CODE_MAX),
    )


def _without_nul(form: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("\0", ""): value.replace("\0", "") for name, value in form.items()}


def _sid(form: Mapping[str, str]) -> str:
    sid = form.get("MessageSid", "")
    if not _SID.fullmatch(sid):
        raise BadFieldError("MessageSid", "not a message SID" if sid else "missing")
    return sid


def _address(fields: Mapping[str, str]) -> str:
    sender = fields.get("From", "")
    address = sender.removeprefix(_CHANNEL)
    if not sender:
        raise BadFieldError("From", "missing")
    if not sender.startswith(_CHANNEL) or not _ADDRESS.fullmatch(address):
        raise BadFieldError("From", "not a WhatsApp address")
    return address


def _whole(name: str, value: str | None, *, most: int = _ID_MAX) -> int | None:
    """A whole number from zero, None when it is missing or blank."""
    text = (value or "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > most:
        raise BadFieldError(name, "not a whole number")
    return int(text)


def _kind(fields: Mapping[str, str]) -> str:
    """What Twilio says, else what the other fields tell. `MessageType` is not documented as always there."""
    media = _whole("NumMedia", fields.get("NumMedia")) or 0
    named = fields.get("MessageType", "").strip().lower()
    if _KIND.fullmatch(named):
        return named
    if media:
        return _kind_of_media(fields.get("MediaContentType0", "").lower())
    for field, kind in (
        ("Latitude", "location"),
        ("ButtonText", "button"),
        ("ButtonPayload", "button"),
        ("ListTitle", "interactive"),
        ("ListId", "interactive"),
        ("InteractiveData", "interactive"),
        ("FlowData", "interactive"),
    ):
        if fields.get(field):
            return kind
    return "text"


def _kind_of_media(content_type: str) -> str:
    if not content_type:
        return "media"
    if content_type == "image/webp":
        return "sticker"
    if content_type in {"text/vcard", "text/x-vcard"}:
        return "contacts"
    family = content_type.partition("/")[0]
    return family if family in {"image", "audio", "video"} else "document"


def _text(kind: str, fields: Mapping[str, str]) -> str:
    if kind == "location" or fields.get("Latitude"):
        return _place(fields)
    body = fields.get("Body", "").strip()
    if kind in _CAPTIONED:
        return f"{_DESCRIPTIONS[kind]} {body}".strip()
    for name in ("ButtonText", "ListTitle"):
        if title := fields.get(name, "").strip():
            return title
    return body or _submitted(fields) or _DESCRIPTIONS.get(kind, _UNKNOWN_KIND)


def _submitted(fields: Mapping[str, str]) -> str | None:
    """What was entered into a form of WhatsApp's, as the JSON that it comes in."""
    entered = fields.get("FlowData") or fields.get("InteractiveData")
    return f"[formulario] {entered}" if entered else None


def _place(fields: Mapping[str, str]) -> str:
    """Label, address and coordinates, as far as they came."""
    named = [fields.get(name, "").strip() for name in ("Label", "Address")]
    # Without either the caption may say what the place is.
    words = ", ".join(filter(None, named)) or fields.get("Body", "").strip()
    position = _position(fields)
    return " ".join(filter(None, (_DESCRIPTIONS["location"], words, position)))


def _position(fields: Mapping[str, str]) -> str:
    if not fields.get("Latitude") and not fields.get("Longitude"):
        return ""
    latitude = _degrees("Latitude", fields.get("Latitude", ""), 90)
    longitude = _degrees("Longitude", fields.get("Longitude", ""), 180)
    return f"({latitude}, {longitude})"


def _degrees(name: str, value: str, most: int) -> str:
    try:
        degrees = float(value)
    except ValueError:
        raise BadFieldError(name, "not a number of degrees") from None
    if not -most <= degrees <= most:
        raise BadFieldError(name, "not a number of degrees")
    return value.strip()
