"""What may not be read in a log or on a page: phone numbers, secrets, and what people wrote. Pure."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum, auto
from functools import lru_cache
from itertools import islice
from math import isfinite
from pathlib import PurePath
from typing import Any
from uuid import UUID

import attrs

_HIDDEN = "•••"
_REDACTED = "[redacted]"

# ITU-T E.164: country codes are one digit in zones 1 and 7, two digits where listed, else three.
_COUNTRY_CODE = re.compile(r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\d{3}")
_PLUS = r"(?P<plus>\+|%2[Bb])"
_BETWEEN = "[ .()/\u00a0\u202f\u2010-\u2013-]{0,2}"
_NUMBER = re.compile(
    rf"{_PLUS}(?P<international>[1-9]\d{{9,14}}(?!\d)|[1-9](?:{_BETWEEN}\d){{6,14}}(?!\d))"
    # Without a plus only a number that stands alone, and that is no time since 1970 in s or ms.
    r"|(?:(?<=%3A)|(?<=%3a)|(?<![\w.-]))(?!1\d{9}(?!\d)|1\d{12}(?!\d))(?P<bare>\d{10,15})(?![\w-]|\.\d)",
    re.ASCII,
)
_CODE_SHOWN_FROM_DIGITS = 10

_SECRET_KEY = re.compile(
    "token|secret|password|passwd|authorization|apikey|signature|cookie|credential|privatekey|signedurl"
)
_SECRET_IN_TEXT = re.compile(
    r"(?i)(?P<before>\bbearer\s+|\bbasic\s+|(?:token|secret|password|api[_-]?key|signature)=|://[^/\s:@]*:)"
    r"(?P<secret>[^\s&\"'@,;]+)"
)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_TEXT_WORDS = frozenset({"body", "text", "content", "transcript", "caption", "summary", "variables"})
_PHONE_WORDS = frozenset({"phone", "caller", "recipient", "msisdn"})
_DIGITS_ALONE = re.compile(r"[ ()./-]*(?:\d[ ()./-]*){7,15}", re.ASCII)
_DEPTH_MAX = 8
_ITEMS_MAX = 100

_APART = "[ .()/\u00a0\u202f\u2010-\u2015-]"
# Digits in any grouping that could be a telephone number.
_NUMBER_LIKE = re.compile(rf"(?<![\w.:-])[+(]*\d(?:{_APART}{{0,3}}\d){{6,14}}(?![\w-]|[.:]\d)", re.ASCII)
_DATE_OR_AMOUNT = re.compile(
    r"\d{4}-\d\d-\d\d|\d\d?([/.-])\d\d?\1\d{4}|\d{1,3}(?:\.\d{3})+|\d{1,3}(?:,\d{3})+", re.ASCII
)
_OWN_DIGITS = 7
_PARTIAL_NUMBER = "0123456789 .()/-+%"


def mask_phone(text: str) -> str:
    """Hide every phone number in `text` but for its country code and last four digits: `+57•••9155`.

    A number without a plus is shown as `•••9155`. Found are numbers with a plus (also `whatsapp:+…`, `%2B…`,
    grouped by spaces or hyphens) and whole runs of 10 to 15 digits; ids, UUIDs and times are left alone.
    Masking twice changes nothing.
    """
    return _NUMBER.sub(_masked, text)


def _masked(number: re.Match[str]) -> str:
    bare = number["bare"]
    if bare is not None:
        return _HIDDEN + bare[-4:]
    digits = re.sub(r"\D", "", number["international"])
    code = _COUNTRY_CODE.match(digits)
    shown = code[0] if code is not None and len(digits) >= _CODE_SHOWN_FROM_DIGITS else ""
    return f"{number['plus']}{shown}{_HIDDEN}{digits[-4:]}"


def mask_numbers(text: str) -> str:
    """Hide everything that could be a telephone number, however it is grouped; dates and amounts are left alone.

    For short values and notes, where a number too many hidden costs little.
    """
    return _NUMBER_LIKE.sub(_masked_unless_date, mask_phone(text))


def _masked_unless_date(found: re.Match[str]) -> str:
    if _DATE_OR_AMOUNT.fullmatch(found[0]):
        return found[0]
    return _HIDDEN + re.sub(r"\D", "", found[0])[-4:]


def mask_number_of(number: str | None, text: str) -> str:
    """Hide one person's number in any grouping, with or without its country code; other numbers are left alone.

    Known by its last seven digits, which all spellings of a number share.
    """
    digits = re.sub(r"\D", "", number or "")[-_OWN_DIGITS:]
    if len(digits) < _OWN_DIGITS:
        return text
    own = f"{_APART}{{0,3}}".join(digits)
    return re.sub(rf"(?<!\d)[+(]*(?:\d{_APART}{{0,3}}){{0,8}}{own}(?!\d)", _HIDDEN + digits[-4:], text)


def shorten(text: str, length_max: int) -> str:
    """The beginning of a text that is longer, and its length. Never ends within a number, which no mask would know."""
    if len(text) <= length_max:
        return text
    return f"{text[:length_max].rstrip(_PARTIAL_NUMBER)}… [{len(text)} characters]"


def shorten_middle(text: str, length_max: int) -> str:
    """As `shorten`, for traces, whose last line says most: beginning and end."""
    if len(text) <= length_max:
        return text
    half = length_max // 2
    end = text[-half:].lstrip(_PARTIAL_NUMBER)
    return f"{text[:half].rstrip(_PARTIAL_NUMBER)}… [{len(text)} characters] …{end}"


def redact_secrets(text: str) -> str:
    """Hide what follows `Bearer`, `token=` and the like, and passwords in URLs, inside a longer text."""
    if not _may_hold_secret(text):
        return text
    return _SECRET_IN_TEXT.sub(rf"\g<before>{_REDACTED}", text)


def _may_hold_secret(text: str) -> bool:
    """Nearly every value that is logged fails this, at a tenth of the pattern's price."""
    if "=" in text or "://" in text:
        return True
    folded = text.casefold()
    return "bearer" in folded or "basic" in folded


def mask_text(text: str) -> str:
    """Hide phone numbers and secrets inside a longer text."""
    return mask_phone(redact_secrets(text))


def mask(value: object, *, key: str = "", texts: bool = False, length_max: int | None = None) -> Any:
    """A copy of `value` that may be logged under `key`: None, bool, int, float, str, and dict and list of these.

    Phone numbers are masked in every string, those in keys included. The value of a key that sounds like a secret
    is replaced, and so is what people wrote (a key whose last word is body, text, content, …) unless `texts`.
    attrs objects become dicts of their fields, other objects what their `repr` says. Goes eight levels deep. With
    `length_max` longer strings are shortened, and of a list or dict the first 100 items are kept.
    """
    return _Mask(texts, length_max).of(value, key, depth=0)


class _Promise(Enum):
    """What a key says of its value."""

    SECRET = auto()
    TEXT = auto()
    PHONE = auto()
    NOTHING = auto()


@lru_cache(maxsize=1024)
def _promise(key: str) -> _Promise:
    if _SECRET_KEY.search(re.sub(r"[^a-z]", "", key.lower())):
        return _Promise.SECRET
    last_word = (_WORDS.findall(key) or [""])[-1].lower()
    if last_word in _TEXT_WORDS:
        return _Promise.TEXT
    return _Promise.PHONE if last_word in _PHONE_WORDS else _Promise.NOTHING


@attrs.frozen
class _Mask:
    texts: bool
    length_max: int | None = None

    def of(self, value: object, key: str, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        promise = _promise(key)
        if promise is _Promise.SECRET:
            return _REDACTED
        if promise is _Promise.TEXT and not self.texts:
            return f"[{len(value)} characters]" if isinstance(value, str) else "[dropped]"
        if promise is _Promise.PHONE and isinstance(value, int | str) and _DIGITS_ALONE.fullmatch(str(value)):
            return _HIDDEN + re.sub(r"\D", "", str(value))[-4:]
        if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
            return value
        return self._inside(value, key, depth + 1) if depth < _DEPTH_MAX else "[too deep]"

    def _inside(self, value: object, key: str, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, datetime | date | UUID | PurePath):
            return self._text(str(value))
        if isinstance(value, Mapping):
            items = islice(value.items(), self._items_max)
            return {self._text(str(name)): self.of(item, str(name), depth) for name, item in items}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.of(item, key, depth) for item in islice(value, self._items_max)]
        fields = getattr(type(value), "__attrs_attrs__", None)
        if fields is not None:
            shown = [field.name for field in fields if field.repr]
            return {name: self.of(getattr(value, name), name, depth) for name in shown}
        return self._text(repr(value))

    @property
    def _items_max(self) -> int | None:
        return None if self.length_max is None else _ITEMS_MAX

    def _text(self, text: str) -> str:
        return mask_text(text if self.length_max is None else shorten(text, self.length_max))
