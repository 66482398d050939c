"""Twilio's SDK on trio: its HTTP client, over httpcore.

httpcore and not httpx, which stands on it: this is the hot path, and httpx added 0.24 ms of CPU to each request
(measured over TLS: 0.61 ms against 0.37 ms) for features that the SDK does not use.
"""

import base64
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import urlencode

import httpcore
import structlog
import trio
from attrs import define, frozen
from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from daemon.twilio.network import Network

_log = structlog.get_logger(__name__)

_CLOSE_S = 2.0
_RETRY_AFTER_MAX_S = 86_400.0


class TransportError(Exception):
    """There is no answer of Twilio's to work with. The message names no person."""


class NeverLeftError(TransportError):
    """No byte of the request's body was written, so Twilio cannot have acted on it."""


class MaybeReceivedError(TransportError):
    """The request was on its way when the connection or the time ran out: Twilio may have acted on it."""


class ThrottledError(TransportError):
    """Twilio turned the request away because there are too many (HTTP 429).

    Attributes:
        code: Twilio's error code, 429 without one.
        retry_after_s: from `Retry-After`, which the SDK's own exception drops; None without one.
    """

    def __init__(self, code: int, retry_after_s: float | None) -> None:
        super().__init__(f"too many requests ({code})")
        self.code = code
        self.retry_after_s = retry_after_s


@frozen(kw_only=True)
class File:
    """An answer that is not text. Header names are in lower case; `content` is None when it was too large."""

    status: int
    headers: Mapping[str, str]
    content: bytes | None


@frozen(kw_only=True)
class Limits:
    """Limits of one transport.

    Attributes:
        deadline_s: for a whole request, from the wait for a connection to the last byte of the answer.
        connect_s: for TCP and TLS, each.
        pool_s: wait for a free connection when all `connections_max` are busy.
        idle_s: how long an unused connection is kept. A new one costs a TLS handshake, 1.5 ms of CPU; one
            that the other side is about to close costs an unknown outcome. Load balancers close after 60 s.
        idle_max: unused connections that are kept. httpcore asks the system about each of them for every request
            (measured: 130 polls a turn with fifty, a tenth of the turn's CPU), and ten carry hundreds of requests
            a second.
    """

    deadline_s: float = 15.0
    connect_s: float = 5.0
    pool_s: float = 5.0
    connections_max: int = 50
    idle_s: float = 45.0
    idle_max: int = 10


class _Body:
    """A request's body that knows whether it was touched.

    A server cannot act on a form before it has the whole body. A request without a body is complete with its
    header, which httpcore writes unseen: it counts as gone from the start.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.has_left = not content
        self._is_read = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_read:
            raise StopAsyncIteration
        self._is_read = self.has_left = True
        return self.content


@define(eq=False)
class _Generation:
    """A connection pool and the number of our requests in it, those that wait for a connection included."""

    pool: httpcore.AsyncConnectionPool
    in_flight: int = 0


class Transport(AsyncHttpClient):  # type: ignore[misc]
    """The `http_client` of a `twilio.rest.Client`.

    httpcore can lose the slot of a cancelled request for good (encode/httpcore issue 1093). A request that
    waited in vain for a connection while fewer were in flight than there are slots shows it; then a new pool
    takes over, and the old one is closed with the last request in it.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        # The SDK's own logger writes phone numbers: nothing is logged through it here.
        super().__init__(logging.getLogger("twilio"), True, self._limits.deadline_s)
        self._ssl_context = httpcore.default_ssl_context()
        # Reading and writing have the deadline of the whole request.
        self._timeouts = {"connect": self._limits.connect_s, "pool": self._limits.pool_s}
        self._current = self._new_generation()
        self._answered: tuple[str, float] | None = None

    def vendor_now(self) -> datetime | None:
        """What Twilio's clock shows at this moment, by the `Date` of its latest answer, to the second; None before
        the first, and when it had none.
        """
        if self._answered is None:
            return None
        date, at = self._answered
        try:
            moment = parsedate_to_datetime(date)
            # A zone of "-0000" reads as none.
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return moment + timedelta(seconds=trio.current_time() - at)
        except (TypeError, ValueError, OverflowError):
            return None

    async def aclose(self) -> None:
        """Close every idle and busy connection. Shielded, and ends within seconds."""
        await _close(self._current.pool)

    async def request(
        self,
        method: str,
        uri: str,
        *,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the SDK's interface
        allow_redirects: bool = False,
    ) -> Response:
        """One request for the SDK, called with these names (`twilio.http.AsyncHttpClient`).

        Raises:
            NeverLeftError, MaybeReceivedError: no answer. Cancellation leaves it open which of the two it is.
            ThrottledError: HTTP 429.
        """
        del allow_redirects  # the SDK never asks for it, and a redirect would repeat a POST
        body = _Body(_encoded(data, headers))
        url = f"{uri}?{_form(params)}" if params else uri
        deadline_s = timeout or self._limits.deadline_s
        with trio.move_on_after(deadline_s):
            answer = await self._exchange(method, url, _all_headers(method, headers, auth, body), body)
            self._answered = (_date(answer), trio.current_time())
            return _response(answer)
        problem = f"no answer within {deadline_s:g} s"
        raise MaybeReceivedError(problem) if body.has_left else NeverLeftError(problem)

    async def file(
        self, url: str, *, auth: tuple[str, str] | None, max_bytes: int, deadline_s: float
    ) -> File:
        """GET a file. Redirects are not followed, and no more than `max_bytes` are kept.

        Raises:
            NeverLeftError, MaybeReceivedError: no whole answer.
        """
        body = _Body(b"")
        headers = _all_headers("GET", None, auth, body)
        with trio.move_on_after(deadline_s):
            async with (
                self._pool(body) as pool,
                pool.stream("GET", url, headers=headers, extensions={"timeout": self._timeouts}) as answer,
            ):
                content = await _limited(answer, max_bytes)
                return File(status=answer.status, headers=_headers(answer), content=content)
        raise MaybeReceivedError(f"no whole answer within {deadline_s:g} s")

    async def _exchange(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: _Body
    ) -> httpcore.Response:
        """The answer, read to its end."""
        async with self._pool(body) as pool:
            return await pool.request(
                method,
                url,
                headers=headers,
                content=body if body.content else None,
                extensions={"timeout": self._timeouts},
            )

    @asynccontextmanager
    async def _pool(self, body: _Body) -> AsyncIterator[httpcore.AsyncConnectionPool]:
        """For one request; httpcore's errors come out as ours."""
        generation = self._current
        generation.in_flight += 1
        try:
            yield generation.pool
        except httpcore.PoolTimeout as error:
            self._suspect(generation)
            raise NeverLeftError("no free connection") from error
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise NeverLeftError(_described(error)) from error
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError) as error:
            lost = MaybeReceivedError if body.has_left else NeverLeftError
            raise lost(_described(error)) from error
        finally:
            generation.in_flight -= 1
            if generation is not self._current and not generation.in_flight:
                await _close(generation.pool)

    def _suspect(self, generation: _Generation) -> None:
        if generation is self._current and generation.in_flight <= self._limits.connections_max:
            _log.warning("connection pool has lost connections and is replaced", vendor="twilio")
            self._current = self._new_generation()

    def _new_generation(self) -> _Generation:
        return _Generation(
            httpcore.AsyncConnectionPool(
                ssl_context=self._ssl_context,
                max_connections=self._limits.connections_max,
                max_keepalive_connections=self._limits.idle_max,
                keepalive_expiry=self._limits.idle_s,
                network_backend=Network(),
            )
        )


@asynccontextmanager
async def open_transport(limits: Limits | None = None) -> AsyncIterator[Transport]:
    transport = Transport(limits)
    try:
        yield transport
    finally:
        await transport.aclose()


def sdk_client(transport: Transport, *, account_sid: str, auth_token: str, base_url: str = "") -> Client:
    """The official SDK over `transport`; a `base_url` is one origin that stands for all of Twilio's hosts."""
    # An empty environment would make the SDK read os.environ, where TWILIO_REGION and TWILIO_EDGE rewrite
    # every host.
    client = Client(account_sid, auth_token, http_client=transport, environment={"none": ""})
    if base_url:
        client.api.base_url = base_url.rstrip("/")
        client.messaging.base_url = base_url.rstrip("/")
    return client


async def _close(pool: httpcore.AsyncConnectionPool) -> None:
    with trio.move_on_after(_CLOSE_S, shield=True):
        await pool.aclose()


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _encoded(data: Mapping[str, object] | None, headers: Mapping[str, str] | None) -> bytes:
    if not data:
        return b""
    if headers is not None and headers.get("Content-Type", "").startswith("application/json"):
        return json.dumps(data).encode()
    return _form(data).encode("ascii")


def _form(fields: Mapping[str, object]) -> str:
    """Fields as Twilio reads them: a list repeats its name, booleans are `true` and `false`."""
    pairs = [
        (name, _text(value))
        for name, values in fields.items()
        if values is not None
        for value in (values if isinstance(values, list) else [values])
    ]
    # A lone surrogate, which JSON can bring in, has no UTF-8.
    return urlencode(pairs, errors="replace")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _all_headers(
    method: str, headers: Mapping[str, str] | None, auth: tuple[str, str] | None, body: _Body
) -> Sequence[tuple[str, str]]:
    complete = list((headers or {}).items())
    if auth is not None:
        complete.append(
            ("Authorization", "Basic " + base64.b64encode(":".join(auth).encode()).decode("ascii"))
        )
    if body.content or method == "POST":
        # Without a length of its own the body would be sent in chunks.
        complete.append(("Content-Length", str(len(body.content))))
    return complete


def _date(answer: httpcore.Response) -> str:
    return next((value.decode("latin-1") for name, value in answer.headers if name.lower() == b"date"), "")


def _headers(answer: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}


async def _limited(answer: httpcore.Response, max_bytes: int) -> bytes | None:
    """The body of an answer; None as soon as it is larger, which also ends its connection."""
    content = bytearray()
    # Cancelled, not left: httpcore reads through generators in generators, which only an exception from within ends in
    # order.
    with trio.CancelScope() as reading:
        async for piece in answer.aiter_stream():
            content += piece
            if len(content) > max_bytes:
                content.clear()
                reading.cancel(reason="the file is too large")
    return None if reading.cancel_called else bytes(content)


def _response(answer: httpcore.Response) -> Response:
    headers = _headers(answer)
    text = answer.content.decode("utf-8", "replace")
    if answer.status == 429:
        raise ThrottledError(_code_in(text) or 429, retry_after_s(headers))
    if answer.status < 300 and text and not text.lstrip().startswith("{"):
        raise MaybeReceivedError(f"HTTP {answer.status} with something that is no answer of Twilio's")
    return Response(answer.status, text, headers)


def _code_in(text: str) -> int | None:
    try:
        error: Any = json.loads(text)
    except ValueError:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, by lower-case header names; None without a sensible value.

    A date (RFC 9110, section 10.2.3) is taken relative to the answer's own `Date`, whatever our clock says.
    """
    asked = headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return _sensible(float(asked))
    try:
        wait = parsedate_to_datetime(asked) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError, OverflowError):
        return None
    return _sensible(max(wait.total_seconds(), 0.0))


def _sensible(wait_s: float) -> float | None:
    """None for a wait of more than a day, which nobody means."""
    return wait_s if 0 <= wait_s <= _RETRY_AFTER_MAX_S else None
