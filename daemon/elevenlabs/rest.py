"""The ElevenLabs REST API on trio: signed URLs, speech, batches and conversations."""

import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import trio
from attrs import define, field, frozen

from actors.calls import Batch, BatchSummary, CallDetails, SeenCall
from daemon.elevenlabs import mapping
from daemon.elevenlabs.fields import Record, required_text
from daemon.elevenlabs.problems import (
    ApiUnavailableError,
    Problem,
    UnexpectedAnswerError,
    read_problem,
    sentence,
)

_PAGE_SIZE = 100
"""The most that ElevenLabs gives."""

_PAGES_MAX = 1000
"""A list that is longer has lost its way; the next look starts at its newest end again."""

_VENDORS_DOMAIN = ".elevenlabs.io"

_ERROR_MAX_BYTES = 64 * 1024

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)

T = TypeVar("T")


class OutcomeUnknownError(ApiUnavailableError):
    """What was asked for may have been done: it was sent, and no usable answer came."""


@frozen(kw_only=True)
class _Request:
    """`timeout_s` is for the whole of it; a `body` is sent as JSON."""

    path: str
    timeout_s: float
    method: str = "GET"
    params: Mapping[str, str | int] = field(factory=dict)
    body: Record | None = None


def _good(answer: T | Problem) -> T:
    """The answer; a refusal is raised."""
    if isinstance(answer, Problem):
        raise answer.error()
    return answer


def _is_vendors_socket(url: str, *, asked: str) -> bool:
    """Whether a talk with a customer may go to this URL: to the host that was asked or another of ElevenLabs', and in
    clear text only where we asked in clear text.
    """
    try:
        socket, rest = urlsplit(url), urlsplit(asked)
        host = (socket.hostname or "").lower()
    except ValueError:
        return False
    is_safe = socket.scheme == "wss" or (socket.scheme == "ws" and rest.scheme == "http")
    return is_safe and (host == (rest.hostname or "").lower() or host.endswith(_VENDORS_DOMAIN))


def _api_root(base_url: str) -> str:
    return base_url.rstrip("/").removesuffix("/v1").rstrip("/") + "/v1"


@define(eq=False, kw_only=True)
class RestApi:
    """Requests with their deadline and their ways to fail.

    Attributes:
        client: shared; made and closed by whoever passes it in.
        base_url: with or without `/v1`.
        timeout_s: for a whole request.
        answer_max_bytes: a longer answer is refused; whole transcripts have to fit.
    """

    client: httpx.AsyncClient
    base_url: str = field(converter=_api_root)
    api_key: str = field(repr=False)
    timeout_s: float
    answer_max_bytes: int

    async def signed_url(self, agent_id: str) -> str:
        """A URL that starts one session with the agent, within 15 minutes. It is a secret.

        Raises:
            ApiUnavailableError, ApiRefusedError: there is none, or it leads to somebody else's host.
        """
        path = "/convai/conversation/get-signed-url"
        answer = await self.get(path, {"agent_id": agent_id})
        url = required_text(answer, "signed_url")
        if not _is_vendors_socket(url, asked=self.base_url):
            raise UnexpectedAnswerError("signed_url on ElevenLabs' own host")
        return url

    async def find(self, path: str) -> Record | None:
        """As `get`; None where there is no such thing."""
        answer = await self._ask(_Request(path=path, timeout_s=self.timeout_s))
        if isinstance(answer, Problem) and answer.status == 404 and not answer.is_unknown_path:
            return None
        return _good(answer)

    async def get(self, path: str, params: Mapping[str, str | int]) -> Record:
        """The JSON object that stands there.

        Raises:
            ApiUnavailableError: no answer in time, or the answer is to come back later.
            ApiRefusedError: any other refusal.
        """
        return _good(await self._ask(_Request(path=path, params=params, timeout_s=self.timeout_s)))

    async def post(self, path: str, body: Record, *, timeout_s: float) -> Record:
        """The JSON object that answers a request which changes something. It is sent once. Cancelled, its
        outcome is as unknown as after `OutcomeUnknownError`.

        Raises:
            OutcomeUnknownError: it may have been done.
            ApiUnavailableError: it was not done; later it may be.
            ApiRefusedError: it was not done.
        """
        try:
            answer = await self._ask(_Request(method="POST", path=path, body=body, timeout_s=timeout_s))
        except ApiUnavailableError as error:
            if isinstance(error.__cause__, _NEVER_SENT):
                raise
            raise OutcomeUnknownError(str(error), status=None) from error
        if isinstance(answer, Problem) and (answer.status >= 500 or answer.status == 408):
            # A server or a proxy that fails, or waits for the end of the request in vain, may have passed it on.
            raise OutcomeUnknownError(answer.sentence, status=answer.status)
        return _good(answer)

    async def patch(self, path: str, body: Record) -> Record:
        """The JSON object that answers a change which may be made twice. Cancelled or failed, it may have been made.

        Raises:
            ApiUnavailableError, ApiRefusedError: as `get`.
        """
        return _good(
            await self._ask(_Request(method="PATCH", path=path, body=body, timeout_s=self.timeout_s))
        )

    async def audio(
        self, path: str, params: Mapping[str, str | int], body: Record, *, max_bytes: int
    ) -> bytes:
        """The sound that answers a request for it; never nothing, never more than `max_bytes`.

        Raises:
            ApiUnavailableError, ApiRefusedError: as `get`.
        """
        request = _Request(method="POST", path=path, params=params, body=body, timeout_s=self.timeout_s)
        sound = _good(await self._fetch(request, max_bytes))
        if not sound:
            raise UnexpectedAnswerError("audio")
        return sound

    async def _ask(self, request: _Request) -> Record | Problem:
        answer = await self._fetch(request, self.answer_max_bytes)
        return answer if isinstance(answer, Problem) else _decoded(answer)

    async def _fetch(self, request: _Request, max_bytes: int) -> bytes | Problem:
        try:
            with trio.fail_after(request.timeout_s):
                return await self._exchange(request, max_bytes)
        except trio.TooSlowError:
            raise ApiUnavailableError(f"no answer within {request.timeout_s:g} s", status=None) from None
        except httpx.HTTPError as error:
            reason = sentence(f"no answer: {type(error).__name__}: {error}")
            raise ApiUnavailableError(reason, status=None) from error

    async def _exchange(self, request: _Request, max_bytes: int) -> bytes | Problem:
        async with self.client.stream(
            request.method,
            self.base_url + request.path,
            params=dict(request.params),
            json=request.body,
            headers={"xi-api-key": self.api_key},
            timeout=request.timeout_s,
        ) as response:
            if not response.is_success:
                page = await _read(response, _ERROR_MAX_BYTES)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return read_problem(response.status_code, headers, page or b"")
            body = await _read(response, max_bytes)
        if body is None:
            raise UnexpectedAnswerError(f"answer within {max_bytes} bytes")
        return body


def _decoded(body: bytes) -> Record:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise UnexpectedAnswerError("JSON object")
    return answer


async def _read(response: httpx.Response, max_bytes: int) -> bytes | None:
    """The body; None when it is longer. What is too much is let go by, since httpx's generators do not take
    being left early; the request's deadline bounds that.
    """
    body = bytearray()
    async for chunk in response.aiter_bytes():
        if len(body) <= max_bytes:
            body += chunk
    return bytes(body) if len(body) <= max_bytes else None


@define(eq=False)
class CallSource:
    """Finished calls and their batches at ElevenLabs; see the port."""

    _api: RestApi

    def batches(self) -> AsyncIterator[BatchSummary]:
        return _Pages(self._batch_page)

    async def batch(self, batch_id: str) -> Batch | None:
        answer = await self._api.find(f"/convai/batch-calling/{quote(batch_id, safe='')}")
        return None if answer is None else mapping.batch(answer)

    def finished_calls(self, *, started_after: datetime) -> AsyncIterator[SeenCall]:
        start_unix = int(started_after.timestamp())

        async def page(cursor: str | None) -> tuple[Sequence[SeenCall], str | None]:
            return await self._call_page(start_unix, cursor)

        return _Pages(page)

    async def call(self, call_id: str) -> CallDetails | None:
        answer = await self._api.find(f"/convai/conversations/{quote(call_id, safe='')}")
        return None if answer is None else mapping.call_details(answer)

    async def _batch_page(self, last_doc: str | None) -> tuple[Sequence[BatchSummary], str | None]:
        params: dict[str, str | int] = {"limit": _PAGE_SIZE}
        if last_doc is not None:
            params["last_doc"] = last_doc
        page = mapping.batch_page(await self._api.get("/convai/batch-calling/workspace", params))
        return page.batches, page.next_doc

    async def _call_page(self, start_unix: int, cursor: str | None) -> tuple[Sequence[SeenCall], str | None]:
        params: dict[str, str | int] = {
            "call_start_after_unix": start_unix,
            "page_size": _PAGE_SIZE,
            "summary_mode": "exclude",
            # Our own chats would fill most pages.
            "text_only": "false",
        }
        if cursor is not None:
            params["cursor"] = cursor
        page = mapping.call_page(await self._api.get("/convai/conversations", params))
        return page.calls, page.next_cursor


@define(eq=False)
class _Pages(Generic[T]):
    """All items of all pages, each page fetched when it is reached. May be left at any point, which an async
    generator may not.
    """

    _fetch: Callable[[str | None], Awaitable[tuple[Sequence[T], str | None]]]
    _items: deque[T] = field(factory=deque, init=False)
    _cursor: str | None = field(default=None, init=False)
    _pages: int = field(default=0, init=False)

    def __aiter__(self) -> "_Pages[T]":
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._pages and self._cursor is None:
                raise StopAsyncIteration
            await self._turn()
        return self._items.popleft()

    async def _turn(self) -> None:
        items, cursor = await self._fetch(self._cursor)
        self._pages += 1
        if cursor is not None and (cursor == self._cursor or self._pages >= _PAGES_MAX):
            raise UnexpectedAnswerError("end of the list")
        self._items.extend(items)
        self._cursor = cursor
