"""The persons on the other side: telephones with WhatsApp, a number or none, and their habits."""

import hashlib
import re
from typing import Any, Final

import phonenumbers
from attrs import define, field

from daemon.lab.twilio.account import whatsapp_address
from daemon.lab.twilio.whatsapp.messages import Message

NUMBER: Final = re.compile(r"\+[1-9]\d{6,14}")
USER_ID: Final = re.compile(r"[A-Z]{2}\.[A-Za-z0-9]{1,128}")


class NoSuchAddressError(ValueError):
    """Neither a number in E.164 form nor a WhatsApp user id (`MX.1234…`)."""


def is_address_key(key: str) -> bool:
    return bool(NUMBER.fullmatch(key) or USER_ID.fullmatch(key))


@define(eq=False, kw_only=True)
class Person:
    """Somebody who writes to the business and is written to.

    Attributes:
        phone: E.164; None for a person with a WhatsApp user name, whose number the business does not see.
        external_user_id: the business-scoped WhatsApp user id, `MX.1234…`.
        reads: whether read receipts are on.
        blocked: the person blocked the business: messages fail with 63014.
        opted_out: REST refuses messages with 21610.
        joined_s: when the person joined the sandbox.
        wrote_s: by sender, when the person wrote last: the 24-hour window.
        inbox: what the telephone received, in the order of arrival.
        talk: every message from and to the person, in the order of acceptance.
    """

    phone: str | None
    external_user_id: str
    profile_name: str
    has_whatsapp: bool = True
    reads: bool = True
    blocked: bool = False
    opted_out: bool = False
    joined_s: float | None = None
    wrote_s: dict[str, float] = field(factory=dict)
    inbox: list[Message] = field(factory=list)
    talk: list[Message] = field(factory=list)

    @property
    def address(self) -> str:
        return whatsapp_address(self.phone or self.external_user_id)

    def as_json(self) -> dict[str, Any]:
        return {
            "phone": self.phone,
            "external_user_id": self.external_user_id,
            "profile_name": self.profile_name,
            "has_whatsapp": self.has_whatsapp,
            "reads": self.reads,
            "blocked": self.blocked,
            "opted_out": self.opted_out,
            "messages": len(self.talk),
        }


def new_person(key: str, *, external_user_id: str | None = None) -> Person:
    """A person at a number or, without one, at a WhatsApp user id.

    Raises:
        NoSuchAddressError: `key` is neither.
    """
    if not is_address_key(key):
        raise NoSuchAddressError(f"{key!r} is no number in E.164 form and no WhatsApp user id")
    if USER_ID.fullmatch(key):
        return Person(phone=None, external_user_id=key, profile_name=f"Cliente {key[-4:]}")
    return Person(
        phone=key,
        external_user_id=external_user_id or _made_up_user_id(key),
        profile_name=f"Cliente {key[-4:]}",
    )


def _made_up_user_id(phone: str) -> str:
    digits = int.from_bytes(hashlib.sha256(phone.encode()).digest()[:8], "big") % 10**16
    return f"{_country(phone)}.{digits:016d}"


def _country(phone: str) -> str:
    try:
        region = phonenumbers.region_code_for_number(phonenumbers.parse(phone))
    except phonenumbers.NumberParseException:
        region = None
    # WhatsApp's ids begin with two letters, which the numbers of no country (+800) do not have.
    return region if region is not None and region.isalpha() else "ZZ"
