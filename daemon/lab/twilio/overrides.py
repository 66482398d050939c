"""A webhook URL's fragment: how long to wait, and what to try again.

Twilio docs: usage/webhooks/webhooks-connection-overrides.
"""

from typing import Final
from urllib.parse import parse_qsl, urldefrag

from attrs import frozen

RETRY_CLASSES: Final = frozenset({"ct", "rt", "4xx", "5xx"})


@frozen(kw_only=True)
class ConnectionOverrides:
    """What one webhook URL asks for; the defaults are those of a URL without a fragment.

    Attributes:
        total_timeout_s: the limit of everything together, retries included.
        retry_on: a selection of `ct` (no connection), `rt` (no answer), `4xx`, `5xx`.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 15.0
    total_timeout_s: float = 15.0
    retries: int = 1
    retry_on: frozenset[str] = frozenset({"ct"})


def split_overrides(url: str) -> tuple[str, ConnectionOverrides]:
    """Take a configured URL apart: what is requested and signed, and its overrides.

    Values out of range are moved to the range's end; keys that mean nothing here (`sni`, `e`) are dropped.
    """
    requested, fragment = urldefrag(url)
    asked = dict(parse_qsl(fragment))
    return requested, ConnectionOverrides(
        connect_timeout_s=_whole(asked.get("ct"), 100, 10_000, default=5_000) / 1_000,
        read_timeout_s=_whole(asked.get("rt"), 100, 15_000, default=15_000) / 1_000,
        total_timeout_s=_whole(asked.get("tt"), 100, 15_000, default=15_000) / 1_000,
        retries=_whole(asked.get("rc"), 0, 5, default=1),
        retry_on=_retry_classes(asked.get("rp", "ct")),
    )


def _whole(text: str | None, low: int, high: int, *, default: int) -> int:
    if text is None or not text.isdecimal():
        return default
    return max(low, min(high, int(text)))


def _retry_classes(text: str) -> frozenset[str]:
    asked = frozenset(text.split(","))
    return RETRY_CLASSES if "all" in asked else asked & RETRY_CLASSES
