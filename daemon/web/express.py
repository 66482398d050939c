"""The express way: routes that nearly every request is for, past Quart.

A turn is one message and three statuses. Through Quart each of these four costs contexts, hooks and a response object
that nobody looks at: 1.0 ms of a turn's 7.6 ms CPU at full load (measured; 132 turns a second became 151). Every other
route is Quart's.
"""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import structlog
from attrs import Factory, frozen

from daemon.web.app import CountRequest
from daemon.web.door import Headers
from daemon.web.problem import HttpError

_log = structlog.get_logger(__name__)

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


class ClientLeftError(Exception):
    """The client is gone before its request was whole."""


@frozen
class ExpressRequest:
    """A request as ASGI has it, with the names of Quart's."""

    scope: Scope
    _receive: Receive

    @property
    def path(self) -> str:
        path: str = self.scope["path"]
        return path

    @property
    def headers(self) -> Headers:
        """By lower-case name; of a repeated one the first counts."""
        return _Headers(dict(reversed(self.scope["headers"])))

    @property
    def content_length(self) -> int | None:
        given = self.headers.get("Content-Length", "")
        return int(given) if given.isascii() and given.isdigit() else None

    @property
    def query(self) -> Mapping[str, str]:
        return dict(reversed(parse_qsl(self.scope["query_string"].decode("latin-1"))))

    @property
    def body(self) -> AsyncIterator[bytes]:
        """Piece by piece, once. Raises `ClientLeftError`."""
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ClientLeftError
            yield event.get("body", b"")
            if not event.get("more_body", False):
                return


@frozen
class _Headers:
    _values: Mapping[bytes, bytes]

    def get(self, name: str, default: str, /) -> str:
        value = self._values.get(name.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


@frozen(kw_only=True)
class Answer:
    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: Mapping[str, str] = Factory(dict)


View: TypeAlias = Callable[[ExpressRequest], Awaitable[Answer]]


@frozen(kw_only=True)
class Express:
    """An ASGI application: POSTs to `views` by their exact paths, and everything else to `otherwise`.

    Problems look as `make_app` makes them look. A view has no time limit of its own here: the server limits how
    long a body may take, and the view its transaction.
    """

    views: Mapping[str, View]
    otherwise: Application
    count: CountRequest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        view = self.views.get(scope["path"]) if scope["type"] == "http" else None
        if view is None:
            await self.otherwise(scope, receive, send)
            return
        began_at = time.perf_counter()
        try:
            answer = await _answer(view, ExpressRequest(scope, receive))
        except ClientLeftError:
            return
        self.count(scope["path"], answer.status, time.perf_counter() - began_at)
        await _send(send, answer)


async def _answer(view: View, request: ExpressRequest) -> Answer:
    if request.scope["method"] != "POST":
        return _told(
            HttpError(
                status=405,
                code="method_not_allowed",
                message="Method Not Allowed",
                headers={"Allow": "POST"},
            )
        )
    try:
        return await view(request)
    except HttpError as problem:
        return _told(problem)
    except ClientLeftError:
        raise
    except Exception:  # noqa: BLE001 - in Quart's place: one request's crash is one answer
        _log.exception("request crashed", path=request.path)
        return _told(HttpError(status=500, code="internal", message="internal error"))


def _told(problem: HttpError) -> Answer:
    return Answer(
        status=problem.status,
        body=json.dumps(problem.body).encode(),
        content_type="application/json",
        headers=problem.headers,
    )


async def _send(send: Send, answer: Answer) -> None:
    headers = dict(answer.headers)
    if answer.content_type is not None:
        headers["Content-Type"] = answer.content_type
    # A 204 has no body, and no length either (RFC 9110, section 8.6).
    if answer.status != HTTPStatus.NO_CONTENT:
        headers["Content-Length"] = str(len(answer.body))
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
