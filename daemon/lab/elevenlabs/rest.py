"""What all REST routes share: the key check, the faults, the error shapes, JSON in and out, paging."""

import hmac
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import trio
from attrs import define
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from daemon.lab.elevenlabs.errors import RefusalError, business_error, invalid
from daemon.lab.elevenlabs.world import World
from daemon.lab.faults import Fault, Faults

T = TypeVar("T")
_NO_BODY: Final = b""


def reply(body: object, status: int = 200) -> Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status=status, content_type="application/json")


def empty_reply(status: int) -> Response:
    return Response(_NO_BODY, status=status)


async def read_json() -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        RefusalError: 422, there is none.
    """
    body = await request.get_json(force=True, silent=True)
    if not isinstance(body, dict):
        raise invalid((("body",), "Input should be a valid dictionary", "dict_type"))
    return body


def int_arg(name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    """An integer of the query.

    Raises:
        RefusalError: 422, it is none or out of range.
    """
    text = request.args.get(name)
    if text is None:
        return default
    where: tuple[str | int, ...] = ("query", name)
    try:
        value = int(text)
    except ValueError as error:
        raise invalid((where, "Input should be a valid integer", "int_parsing")) from error
    if value < least:
        raise invalid((where, f"Input should be greater than or equal to {least}", "greater_than_equal"))
    if most is not None and value > most:
        raise invalid((where, f"Input should be less than or equal to {most}", "less_than_equal"))
    return value


def page_of(
    items: Sequence[T], *, after: str | None, size: int, id_of: Callable[[T], str]
) -> tuple[Sequence[T], str | None]:
    """The page that follows the item named `after`, and the cursor of the next one.

    Raises:
        RefusalError: 400, no item has that name.
    """
    start = 0
    if after:
        position = next((index for index, item in enumerate(items) if id_of(item) == after), None)
        if position is None:
            raise business_error(400, "invalid_cursor", "Invalid cursor.", kind="validation_error")
        start = position + 1
    page = items[start : start + size]
    return page, id_of(page[-1]) if start + size < len(items) else None


@define(eq=False)
class Gate:
    """Stands before every REST call: counts it, lets faults strike, and checks the key.

    Attributes:
        abort_connection: breaks the TCP connection of a peer, given as (host, port).
    """

    world: World
    api_key: str
    abort_connection: Callable[[tuple[str, int]], None]

    def add_to(self, app: QuartTrio) -> None:
        app.before_request(self._before)
        app.after_request(self._after)
        app.register_error_handler(RefusalError, self._refuse)
        app.register_error_handler(HTTPException, self._refuse_unrouted)

    async def _before(self) -> Response | None:
        if not request.path.startswith("/v1/"):
            return None
        route = request.url_rule.rule if request.url_rule is not None else "unknown"
        self.world.books.requests[f"{request.method} {route}"] += 1
        self.world.books.change()
        faults = self.world.faults
        if fault := self._strikes(faults, "rest_slow"):
            await trio.sleep(float(fault.details.get("seconds", 3)))
        if self._strikes(faults, "rest_500"):
            return Response("Internal Server Error", status=500, content_type="text/plain")
        if self._strikes(faults, "rest_429"):
            raise business_error(429, "rate_limit_exceeded", "Too many requests.", kind="rate_limit_error")
        if not hmac.compare_digest(request.headers.get("xi-api-key", ""), self.api_key):
            raise business_error(401, "invalid_api_key", "Invalid API key", kind="authentication_error")
        return None

    async def _after(self, response: Response) -> Response:
        if request.path.startswith("/v1/") and self._strikes(self.world.faults, "rest_answer_lost"):
            host, port = request.scope["client"] or ("", 0)
            self.abort_connection((host, port or 0))
        return response

    @staticmethod
    def _strikes(faults: Faults, name: str) -> Fault | None:
        """A fault of some paths has its opportunities only there."""
        for fault in faults.active:
            if fault.name == name and str(fault.details.get("path", "")) in request.path:
                return faults.strikes(name)
        return None

    async def _refuse(self, refusal: RefusalError) -> Response:
        return reply({"detail": refusal.detail}, refusal.status)

    async def _refuse_unrouted(self, error: HTTPException) -> Response:
        return reply({"detail": error.name}, error.code or 500)
