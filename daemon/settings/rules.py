"""Rules for single settings. Each takes a value of the right type and gives it back in its normal form.

They stand in the annotations of `daemon.settings.model` and raise `UnfitError`. An empty text means "not
set" and passes every rule but `not_blank`; whether a setting may be missing is decided elsewhere.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from attrs import frozen
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from actors.conversation.texts import find_flaw, is_blank
from actors.live_call.wording import WORD_VARIABLES, find_word_flaw
from daemon.settings.problems import UnfitError, show

_Number = TypeVar("_Number", int, float)

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_COUNTING_TEXT_MAX = 60
_NUMBER_SEPARATORS = re.compile(r"[\s().-]")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_TEMPLATE_VARIABLE_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
# Names that never lead to the open internet (RFC 2606, RFC 6761, RFC 6762, RFC 8375, ICANN's .internal).
_LAB_SUFFIXES = (
    ".localhost",
    ".test",
    ".example",
    ".invalid",
    ".local",
    ".internal",
    ".home.arpa",
    ".example.com",
    ".example.net",
    ".example.org",
)


@frozen
class Between:
    """Both ends belong to it."""

    low: float
    high: float

    def __call__(self, value: _Number) -> _Number:
        if not self.low <= value <= self.high:
            raise UnfitError(
                f"expected a number from {_plain(self.low)} to {_plain(self.high)}, got {show(value)}"
            )
        return value


def trimmed(text: str) -> str:
    return text.strip()


def not_blank(text: str) -> str:
    if is_blank(text):
        raise UnfitError("must not be empty")
    return text


def media_url(text: str) -> str:
    """An http(s) URL of a file; signed ones carry a query."""
    url = text.strip()
    _refuse_spaces(url)
    _web_url(url.partition("?")[0])
    return url


def api_base(text: str) -> str:
    """An http(s) URL without its trailing slash and `/v1`."""
    return _web_url(text)[0].removesuffix("/v1").rstrip("/")


def web_origin(text: str) -> str:
    """An http(s) URL with nothing behind host and port."""
    url, parts = _web_url(text)
    if parts.path.strip("/"):
        raise UnfitError(f"expected only scheme, host and port, got the path {show(parts.path)} as well")
    return url


def public_url(text: str) -> str:
    """An http(s) URL without its trailing slash; plain http only where it cannot leave a machine or a lab."""
    url, parts = _web_url(text)
    if parts.scheme == "http" and not is_lab_host(parts.hostname or ""):
        raise UnfitError(
            f"expected https, got {show(url)}: messages and tokens would cross the internet in the clear",
            mend="put a TLS proxy in front and name its https address",
        )
    return url


def store_url(text: str) -> str:
    """A PostgreSQL URI. Its password is never shown."""
    url = text.strip()
    if not url:
        return ""
    scheme, separator, _ = url.partition("://")
    if separator and scheme in {"postgresql", "postgres"}:
        _refuse_bad_options(url)
        return url
    found = f"one that starts with {show(scheme + separator)}" if separator else "something else"
    raise UnfitError(
        f"expected a PostgreSQL URI, got {found}",
        mend="write postgresql://user@host/database, or postgresql:///database?host=/run/postgresql for a "
        "socket folder, or leave it empty for the embedded PostgreSQL",
    )


def _refuse_bad_options(url: str) -> None:
    """What libpq would refuse each time it connects. Its own sentences quote the URL, password and all."""
    try:
        options = conninfo_to_dict(url)
    except ProgrammingError as error:
        # A password may hold a question mark, and then part of it looks like an option.
        unknown = None if "@" in url.partition("?")[2] else _UNKNOWN_OPTION.search(str(error))
        flaw = f"with the unknown option {show(unknown[1])}" if unknown else "that is malformed"
        raise UnfitError(f"expected a PostgreSQL URI, got one {flaw}", mend=_MEND_STORE_URL) from None
    for name, is_fit, expected in _STORE_OPTIONS:
        values = str(options.get(name) or "").split(",")
        if not all(is_fit(value) for value in values if value):
            raise UnfitError(f"its {name} is not {expected}", mend=_MEND_STORE_URL)


_UNKNOWN_OPTION = re.compile(r'invalid URI query parameter: "(\w+)"')
_MEND_STORE_URL = (
    "write postgresql://user@host:5432/database, with options of libpq only, such as ?sslmode=require; characters"
    " of a password that a URI gives a meaning are percent-encoded"
)
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_STORE_OPTIONS: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    ("port", lambda text: _is_whole(text) and 1 <= int(text) <= 65535, "a port number"),
    ("connect_timeout", lambda text: _is_whole(text.removeprefix("-")), "a whole number of seconds"),
    ("sslmode", lambda text: text in _SSL_MODES, f"one of {', '.join(sorted(_SSL_MODES))}"),
)


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def phone_number(text: str) -> str:
    """E.164 with its plus sign; spaces, dots, dashes and brackets are dropped. The number is not shown."""
    digits = _NUMBER_SEPARATORS.sub("", text)
    if digits and not _E164.fullmatch(digits):
        raise UnfitError(
            "expected a phone number in international form" + _number_flaw(digits),
            mend="write it with plus sign and country code, such as +573001234567",
        )
    return digits


def whatsapp_number(text: str) -> str:
    """As `phone_number`; a `whatsapp:` in front is dropped."""
    return phone_number(text.strip().removeprefix("whatsapp:"))


def time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, LookupError):
        raise UnfitError(
            f"there is no time zone {show(text)} on this machine",
            mend="write a name of the IANA database, such as America/Bogota; where the machine has none, "
            "install its tzdata package",
        ) from None
    return text


@frozen(kw_only=True)
class CallText:
    """A template that can be rendered for every call. With `is_optional` a blank one means: no message."""

    needs_summary: bool = False
    is_optional: bool = False

    def __call__(self, source: str) -> str:
        if is_blank(source):
            if self.is_optional:
                return ""
            raise UnfitError("must not be empty")
        flaw = find_flaw(source, needs_summary=self.needs_summary)
        if flaw is not None:
            raise UnfitError(
                flaw.described,
                mend="mend the template; a variable that some call may lack needs a default, as in "
                "{{ variables.campaign | default('…') }}",
            )
        return source


def word_text(source: str) -> str:
    """A template of a live call's words."""
    if is_blank(source):
        raise UnfitError("must not be empty")
    flaw = find_word_flaw(source)
    if flaw is not None:
        raise UnfitError(flaw, mend=f"mend the template; its variables are {', '.join(WORD_VARIABLES)}")
    return source


def word_variables(sources: Mapping[str, str]) -> Mapping[str, str]:
    """As `template_variables`, with the variables of a live call's words."""
    for name, source in sources.items():
        _check_variable_name(name)
        try:
            word_text(source)
        except UnfitError as error:
            raise UnfitError(f"variable {show(name)}: {error}", mend=error.mend) from None
    return sources


def plain_text(text: str) -> str:
    """A text that goes out as it stands."""
    if "{{" in text or "{%" in text:
        raise UnfitError("takes no variables", mend="write it without {{ }} and {% %}")
    return not_blank(text)


def counting_text(text: str) -> str:
    """A short line that says how many of something there are."""
    if len(text) > _COUNTING_TEXT_MAX:
        raise UnfitError(f"expected at most {_COUNTING_TEXT_MAX} characters, got {len(text)}")
    if "{count}" not in text:
        raise UnfitError("does not say how many", mend="write {count} where the number belongs")
    return text


def template_variables(sources: Mapping[str, str]) -> Mapping[str, str]:
    """Names and values for the `ContentVariables` of a WhatsApp template."""
    check = CallText()
    for name, source in sources.items():
        _check_variable_name(name)
        try:
            check(source)
        except UnfitError as error:
            raise UnfitError(f"variable {show(name)}: {error}", mend=error.mend) from None
    return sources


def _check_variable_name(name: str) -> None:
    if not _TEMPLATE_VARIABLE_NAME.fullmatch(name):
        raise UnfitError(f'{show(name)} cannot be the name of a variable; they are "1", "2" and so on')


def is_lab_host(host: str) -> bool:
    """This machine, a private network, a name without dots, or one reserved for tests and examples."""
    try:
        address = ip_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
        return "." not in name or f".{name}".endswith(_LAB_SUFFIXES)
    return address.is_private or address.is_loopback or address.is_link_local


def is_loopback_host(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return f".{host.lower().rstrip('.')}".endswith(".localhost")


def _web_url(text: str) -> tuple[str, SplitResult]:
    url = text.strip().rstrip("/")
    if not url:
        return "", SplitResult("", "", "", "", "")
    parts = _split(url)
    flaw = next((sentence for is_wrong, sentence in _URL_FLAWS if is_wrong(parts)), None)
    if flaw is not None:
        raise UnfitError(f"expected an http(s) URL, got one {flaw}", mend="write it as https://host")
    return parts.scheme + url[len(parts.scheme) :], parts


def _split(url: str) -> SplitResult:
    _refuse_spaces(url)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise UnfitError("expected an http(s) URL, got one with a malformed host or port") from None
    return parts


def _refuse_spaces(url: str) -> None:
    # urlsplit silently drops line breaks and tabs.
    if re.search(r"\s", url):
        raise UnfitError("expected an http(s) URL, got one with a space in it")


_URL_FLAWS: tuple[tuple[Callable[[SplitResult], bool], str], ...] = (
    (lambda parts: parts.scheme not in {"http", "https"}, "that does not start with https://"),
    (lambda parts: not parts.hostname, "without a host"),
    (lambda parts: "@" in parts.netloc, "with a user name or password in it"),
    (lambda parts: bool(parts.query or parts.fragment), "with a query or a fragment"),
    (lambda parts: not _is_host(parts.hostname or ""), "with characters that no host name has"),
)


def _is_host(host: str) -> bool:
    return ":" in host or _HOST_NAME.fullmatch(host) is not None


def _number_flaw(digits: str) -> str:
    if not digits.startswith("+"):
        return ", got one without the plus sign"
    return f", got something else of {len(digits)} characters"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)
