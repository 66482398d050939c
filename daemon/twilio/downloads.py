"""Files from Twilio: its API answers with the file, or sends us on to where it lies."""

from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

import trio

from daemon.twilio.transport import File, MaybeReceivedError, Transport

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_MAX: Final = 3


class StrangeRedirectError(Exception):
    """We are sent on to an address that is not to be called, or too often."""


async def download(
    transport: Transport, url: str, *, auth: tuple[str, str], max_bytes: int, deadline_s: float
) -> File:
    """The file at a URL of Twilio's API, or the answer that it is not there.

    Redirects are followed over TLS alone, or back to where `url` is, and nobody but that host gets the credentials
    (Twilio docs: voice/api/recording: with authentication enforced the API redirects to a signed address elsewhere).

    Raises:
        NeverLeftError, MaybeReceivedError: no whole answer within `deadline_s`.
        StrangeRedirectError: see there.
    """
    origin = _origin(urlsplit(url))
    asked = url
    with trio.move_on_after(deadline_s):
        for _ in range(_REDIRECTS_MAX + 1):
            is_home = _origin(urlsplit(asked)) == origin
            file = await transport.file(
                asked, auth=auth if is_home else None, max_bytes=max_bytes, deadline_s=deadline_s
            )
            if file.status not in _REDIRECTS:
                return file
            asked = _followed(asked, file.headers.get("location", ""), origin)
        raise StrangeRedirectError(f"more than {_REDIRECTS_MAX} redirects")
    raise MaybeReceivedError(f"no whole answer within {deadline_s:g} s")


def _followed(asked: str, location: str, origin: tuple[str, str, int | None]) -> str:
    """Where a redirect leads, if we may go there."""
    try:
        url = urljoin(asked, location)
        parts = urlsplit(url)
        leads_home = _origin(parts) == origin
    except ValueError:
        raise StrangeRedirectError("a redirect to no URL") from None
    if not location or not parts.hostname or not (parts.scheme == "https" or leads_home):
        raise StrangeRedirectError("a redirect to an address that is not to be called")
    return url


def _origin(url: SplitResult) -> tuple[str, str, int | None]:
    """Raises `ValueError` for a port that is none."""
    default = {"https": 443, "http": 80}.get(url.scheme)
    return url.scheme, (url.hostname or "").lower(), url.port or default
