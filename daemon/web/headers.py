"""What every answer tells a browser that gets hold of it."""

from collections.abc import Mapping

_YEAR_S = 365 * 24 * 3600

# Answers of both listeners are for programs. A page replaces the first two by `PAGE_HEADERS`.
API_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

# With no-referrer a browser would name "null" as the origin of our own forms.
PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
}


def public_headers(public_url: str) -> Mapping[str, str]:
    """With the promise that this host speaks TLS, where it does; the admin listener's host may be loopback."""
    if not public_url.startswith("https://"):
        return API_HEADERS
    return {**API_HEADERS, "Strict-Transport-Security": f"max-age={_YEAR_S}"}
