"""The door: what every public request has to show before anything is done for it."""

import re
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

import structlog
import trio
from attrs import frozen
from werkzeug.exceptions import RequestEntityTooLarge

from actors.messages import BadFieldError
from actors.ports import StoreUnavailableError
from daemon.web.problem import HttpError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

FIELDS_MAX = 200
FORM_TYPE = "application/x-www-form-urlencoded"

_CONTENT_TYPE = re.compile(r"\s*([\w.+-]+/[\w.+-]+)\s*(?:;|$)")


class Headers(Protocol):
    def get(self, name: str, default: str, /) -> str: ...


class Request(Protocol):
    """What the door looks at; Quart's requests have it, and those of the express way."""

    @property
    def scope(self) -> Mapping[str, Any]: ...

    @property
    def path(self) -> str: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def content_length(self) -> int | None: ...

    @property
    def body(self) -> AsyncIterable[bytes]: ...


class QuerySignatureCheck(Protocol):
    def __call__(self, target: str, signature: str | None, /) -> bool:
        """Whether Twilio signed a GET of this path and query."""
        ...


def _refused(_target: str, _signature: str | None) -> bool:
    return False


class SignatureCheck(Protocol):
    def __call__(self, target: str, fields: Sequence[tuple[str, str]], signature: str | None, /) -> bool:
        """Whether Twilio signed this very form.

        `target` is path and query as they came, `fields` every pair of the form, repeated ones included.
        """
        ...


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """The raw body.

    Raises:
        HttpError: 413 as soon as it is known to be larger than `max_bytes`.
    """
    too_large = HttpError(
        status=413, code="body_too_large", message=f"the body is larger than {max_bytes} bytes"
    )
    if (request.content_length or 0) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.body:
            body += chunk
            if len(body) > max_bytes:
                raise too_large
    except RequestEntityTooLarge:
        raise too_large from None
    return bytes(body)


def require_content_type(request: Request, expected: str) -> None:
    """Refuse with 415 what is not sent as `expected`; parameters such as a charset do not matter."""
    found = _CONTENT_TYPE.match(request.headers.get("Content-Type", ""))
    if found is None or found[1].lower() != expected:
        raise HttpError(status=415, code="wrong_content_type", message=f"send {expected}")


@frozen(kw_only=True)
class TwilioDoor:
    """Lets in what Twilio signed for our account.

    Attributes:
        is_open: false while the daemon starts or drains.
        is_query_signed: for routes that are asked by GET; without it these are closed.
    """

    account_sid: str
    max_body_bytes: int
    is_signed: SignatureCheck
    is_open: Callable[[], bool]
    is_query_signed: QuerySignatureCheck = _refused

    async def form(self, request: Request) -> Mapping[str, str]:
        """The form of a signed request; of a repeated field the first value counts.

        Raises:
            HttpError: 503 while closed, 415, 413, 400 for what is no form, 403 for a signature that is
                missing or wrong and for another account.
        """
        require_open(self.is_open)
        require_content_type(request, FORM_TYPE)
        body = await read_body(request, max_bytes=self.max_body_bytes)
        pairs = _pairs(body)
        if not self.is_signed(_target(request), pairs, request.headers.get("X-Twilio-Signature", "")):
            # Most often the operator's own settings are at fault, and nobody else would tell.
            _log.warning(
                "webhook refused: bad signature",
                path=request.path,
                hint="see http.public_url and TWILIO_AUTH_TOKEN",
            )
            raise HttpError(status=403, code="bad_signature", message="the signature is missing or wrong")
        return self._of_account(pairs)

    def query(self, request: Request) -> Mapping[str, str]:
        """The query of a signed GET, as `form`.

        Raises:
            HttpError: 503 while closed, 400 and 403 as for a form.
        """
        require_open(self.is_open)
        pairs = _pairs(request.scope["query_string"])
        signature = request.headers.get("X-Twilio-Signature", "")
        if not self.is_query_signed(_target(request), signature):
            raise HttpError(status=403, code="bad_signature", message="the signature is missing or wrong")
        return self._of_account(pairs)

    def _of_account(self, pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
        fields = dict(reversed(pairs))
        if fields.get("AccountSid") != self.account_sid:
            raise HttpError(
                status=403, code="wrong_account", message="this is another account's", field="AccountSid"
            )
        return fields


def require_open(is_open: Callable[[], bool]) -> None:
    if not is_open():
        raise HttpError(status=503, code="not_serving", message="starting or stopping; try again")


def _target(request: Request) -> str:
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError as error:
        raise HttpError(status=400, code="bad_form", message="the body is no url-encoded form") from error


async def stored(transaction: Awaitable[T], *, timeout_s: float) -> T:
    """Carry a request's transaction through even when its sender hangs up, and within a time limit.

    Raises:
        HttpError: 503; nothing may be acknowledged that is not committed.
    """
    with trio.move_on_after(timeout_s, shield=True):
        try:
            return await transaction
        except StoreUnavailableError as error:
            _log.warning("webhook refused: the database is out of reach", detail=str(error))
    raise HttpError(status=503, code="store_unavailable", message="not stored; try again")


def read_or_refuse(reader: Callable[..., T], *sources: Any) -> T:
    """What a reader makes of its sources; a `BadFieldError` of its becomes 400 with the field's name."""
    try:
        return reader(*sources)
    except BadFieldError as error:
        raise HttpError(status=400, code="bad_field", message=error.problem, field=error.field) from error
