"""Who may use the admin routes, and how often a token may be guessed."""

import hmac
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from math import ceil
from typing import Any
from urllib.parse import parse_qsl

import structlog
import trio
from attrs import define, field
from quart import Request, Response, request
from quart.typing import ResponseReturnValue

from actors.alerts import Alerts
from daemon.web.admin.lockout import Lockout, Peer
from daemon.web.admin.session import Session, Sessions
from daemon.web.door import FIELDS_MAX, FORM_TYPE, read_body, require_content_type
from daemon.web.problem import HttpError

_log = structlog.get_logger(__name__)

COOKIE = "relevo_admin"
PAGE = "/admin"
SIGN_IN = "/admin/sign-in"
FORM_MAX_BYTES = 4096
CSRF_FIELD = "csrf_token"
CSRF_HEADER = "X-CSRF-Token"
GUESSING = "admin_guessing"
"""The alert's key."""

_PROXY_MARKS = ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host")
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@define(kw_only=True)
class AdminGuard:
    """Asks for `Authorization: Bearer` with the admin token, or for a session.

    A browser never sends such a header on its own, so requests with it need no token against forgery. It does send
    a session's cookie, so every change in a session has to carry the session's token and to come from our own pages.
    """

    _token: str = field(repr=False)
    sessions: Sessions
    _lockout: Lockout
    _alerts: Alerts
    _now_s: Callable[[], float] = field(default=trio.current_time)

    async def check(self, asked: Request) -> Session | None:
        """Let a request through; its session, None for one with the admin token itself.

        Raises:
            HttpError: 401 without token or session, in its place a redirect for a browser that wants a page; 429
                after too many wrong tokens; 403 for a change without the session's token, or from another site.
        """
        scheme, _, given = asked.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            self.check_token(asked, given.strip())
            return None
        session = self.session_of(asked)
        if session is None:
            raise _sign_in_first(asked)
        if asked.method not in {"GET", "HEAD"}:
            require_same_origin(asked)
            if not session.owns(await _csrf_token(asked)):
                raise HttpError(
                    status=403,
                    code="csrf",
                    message=f"send the session's token as {CSRF_HEADER}, or reload the page",
                )
        return session

    def guarded(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """`view`, for those whom `check` lets through. A form on the page leads back to the page."""

        @wraps(view)
        async def checked(**arguments: Any) -> ResponseReturnValue:
            await self.check(request)
            answer: ResponseReturnValue = await view(**arguments)
            if request.method == "POST" and wants_page(request):
                return Response(b"", status=HTTPStatus.SEE_OTHER, headers={"Location": PAGE})
            return answer

        return checked

    def session_of(self, asked: Request) -> Session | None:
        cookie = asked.cookies.get(COOKIE)
        return self.sessions.read(cookie) if cookie else None

    def check_token(self, asked: Request, given: str) -> None:
        """Raises `HttpError` 401 for a wrong admin token, 429 after too many of them."""
        now, peer = self._now_s(), peer_of(asked)
        # Both sides as bytes: compare_digest takes no text beyond ASCII.
        is_right = hmac.compare_digest(given.encode(errors="replace"), self._token.encode())
        wait_s = self._lockout.wait_s(peer, now=now)
        if wait_s > 0 and not (is_right and peer.is_local):
            raise _locked(wait_s)
        if is_right:
            self._lockout.succeeded(peer)
            if self._lockout.is_calm(now=now):
                self._alerts.settle(GUESSING)
            return
        lock_s = self._lockout.failed(peer, now=now)
        # Never the token that was tried: it may be the right one with a slip of the pen.
        _log.warning("wrong admin token", peer=peer.name, locked_s=lock_s)
        if lock_s > 0:
            self._alerts.raise_alert(
                GUESSING, f"somebody guesses at the admin token, lately from {peer.name}"
            )
            raise _locked(lock_s)
        raise _unauthorized()

    def seal(self, response: Response, asked: Request, *, cookie: str | None) -> Response:
        """Give the browser a session's cookie, or with None take it away."""
        response.set_cookie(
            COOKIE,
            cookie or "",
            max_age=self.sessions.max_age_s if cookie else 0,
            path=PAGE,
            httponly=True,
            samesite="Strict",
            secure=not _is_plain_loopback(asked),
        )
        return response


def peer_of(asked: Request) -> Peer:
    return Peer.of(
        asked.remote_addr,
        forwarded_for=asked.headers.get("X-Forwarded-For"),
        is_forwarded=any(mark in asked.headers for mark in _PROXY_MARKS),
    )


def require_same_origin(asked: Request) -> None:
    """Raises `HttpError` 403 for what a browser sends in another site's name; programs say nothing of it."""
    origin = asked.headers.get("Origin")
    is_ours = origin is None or origin.partition("://")[2] == asked.headers.get("Host")
    if not is_ours or asked.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        raise HttpError(
            status=403,
            code="wrong_origin",
            message="this request comes from another site; a proxy in front has to pass the Host header on",
        )


async def read_form(asked: Request) -> dict[str, str]:
    """A small form of one of our pages; of a repeated field the last value counts."""
    require_content_type(asked, FORM_TYPE)
    body = await read_body(asked, max_bytes=FORM_MAX_BYTES)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError as error:
        raise HttpError(status=400, code="bad_form", message="the body is no url-encoded form") from error


def wants_page(asked: Request) -> bool:
    """Whether a browser asks, not a program."""
    return "text/html" in asked.headers.get("Accept", "")


async def _csrf_token(asked: Request) -> str:
    header = asked.headers.get(CSRF_HEADER)
    if header is not None or asked.mimetype != FORM_TYPE:
        return header or ""
    return (await read_form(asked)).get(CSRF_FIELD, "")


def _is_plain_loopback(asked: Request) -> bool:
    """Whether the browser speaks plain HTTP with its own machine, the one case without TLS that a session may have.

    Some browsers take no `Secure` cookie there. Anywhere else the cookie is `Secure`, and a browser that came without
    TLS drops it. The host is what stands in the browser's address bar.
    """
    host = asked.headers.get("Host", "")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name in _LOOPBACK_NAMES and asked.headers.get("X-Forwarded-Proto", "http") == "http"


def _sign_in_first(asked: Request) -> HttpError:
    if asked.method == "GET" and wants_page(asked):
        return HttpError(
            status=HTTPStatus.SEE_OTHER,
            code="sign_in",
            message="sign in first",
            headers={"Location": SIGN_IN},
        )
    return _unauthorized()


def _unauthorized() -> HttpError:
    return HttpError(
        status=401,
        code="unauthorized",
        message="send the admin token as Authorization: Bearer",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _locked(wait_s: float) -> HttpError:
    return HttpError(
        status=429,
        code="too_many_guesses",
        message="too many wrong tokens; wait before you try again",
        headers={"Retry-After": str(ceil(wait_s))},
    )
