"""The edge of the REST side: who asks, what strikes on the way, and the shape of an answer."""

import json
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import trio
from attrs import define, frozen
from quart import Response, request

from daemon.lab.faults import Fault, Faults
from daemon.lab.twilio.account import Account
from daemon.lab.twilio.books import Books, RestCall
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.errors import RestError, not_found
from daemon.lab.twilio.form import Form, parse_form

# What an answer waits for at most, before it goes without.
HOLD_MAX_S: Final = 15.0
BAD_GATEWAY: Final = (
    "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
)


@frozen(kw_only=True)
class Asked:
    """A request that has been read and authenticated."""

    path: str
    form: Form
    query: Form


@frozen(kw_only=True)
class Reply:
    """An answer of the REST side.

    Attributes:
        body: a JSON value, or None for no body.
        hold: the answer waits for this, at most `HOLD_MAX_S`.
        redirect: for 307: where to.
        file: content and content type, in place of a JSON value.
    """

    status: int = 200
    body: Any = None
    file: tuple[bytes, str] | None = None
    hold: trio.Event | None = None
    redirect: str | None = None


Work = Callable[[Asked], Reply]


@define(eq=False, kw_only=True)
class Edge:
    """Runs every REST route: a route says what it does as a plain function, which is therefore done or not done.

    Attributes:
        abort_connection: closes the TCP connection of the peer at an address; given by whoever owns the listener.
            Without it a connection that should drop is held until the client gives up.
    """

    account: Account
    books: Books
    clock: LabClock
    faults: Faults
    abort_connection: Callable[[tuple[str, int]], None] | None = None

    async def answer(self, operation: str, account_sid: str | None, work: Work) -> Response:
        """Answer the current request; `account_sid` is the one in its path, None where the path has none."""
        call = RestCall(
            at=self.clock.now(),
            operation=operation,
            method=request.method,
            path=request.full_path.rstrip("?"),
        )
        self.books.rest_calls.append(call)
        try:
            asked = await self._read(account_sid)
            response = await self._do(call, asked, work)
        except RestError as error:
            call.code = error.code
            response = _json_response(error.status, error.body(), error.headers)
        call.status = response.status_code
        self.books.changed()
        return response

    async def _read(self, account_sid: str | None) -> Asked:
        body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        self._authenticate()
        if account_sid is not None and account_sid != self.account.sid:
            raise not_found(request.path)
        try:
            return Asked(path=request.path, form=parse_form(body), query=parse_form(request.query_string))
        except ValueError:
            raise RestError(400, 20001) from None

    def _authenticate(self) -> None:
        given = request.authorization
        good = (
            given is not None
            and given.type == "basic"
            and given.username == self.account.sid
            and secrets.compare_digest((given.password or "").encode(), self.account.auth_token.encode())
        )
        if not good:
            raise RestError(401, 20003, headers={"WWW-Authenticate": 'Basic realm="Twilio API"'})

    async def _do(self, call: RestCall, asked: Asked, work: Work) -> Response:
        """Do the work unless a fault prevents it, and answer unless a fault prevents that."""
        if not self.faults.active:
            return await _respond(work(asked))
        strike = partial(self._strike, call)
        if strike("rest_drop_before"):
            return await self._drop()
        _raise_refusal(strike)
        if strike("html_502"):
            return Response(BAD_GATEWAY, 502, content_type="text/html")
        reply = work(asked)
        if fault := strike("rest_slow"):
            await trio.sleep(_seconds(fault, 5.0))
        if fault := strike("rest_timeout_after"):
            await trio.sleep(_seconds(fault, 30.0))
            return await self._drop()
        if strike("rest_500_after"):
            raise RestError(500, 20500)
        return await _respond(reply)

    def _strike(self, call: RestCall, name: str) -> Fault | None:
        aimed = next((fault for fault in self.faults.active if fault.name == name), None)
        if aimed is None or aimed.details.get("on", "message.create") not in {call.operation, "any"}:
            return None
        struck = self.faults.strikes(name)
        if struck is not None:
            call.fault = name
        return struck

    async def _drop(self) -> Response:
        peer = request.scope["client"]
        if self.abort_connection is None or peer is None:
            await trio.sleep(HOLD_MAX_S)
        else:
            self.abort_connection((peer[0], peer[1] or 0))
        return Response("", 500)


def _raise_refusal(strike: Callable[[str], Fault | None]) -> None:
    if fault := strike("rest_429"):
        retry_after = str(fault.details.get("retry_after_s", 1))
        raise RestError(429, 20429, headers={"Retry-After": retry_after})
    if strike("rest_500_before"):
        raise RestError(500, 20500)
    if fault := strike("rest_refused"):
        raise RestError(int(fault.details.get("status", 400)), int(fault.details.get("code", 21408)))


def _seconds(fault: Fault, default: float) -> float:
    return float(fault.details.get("seconds", default))


async def _respond(reply: Reply) -> Response:
    if reply.hold is not None:
        with trio.move_on_after(HOLD_MAX_S):
            await reply.hold.wait()
    if reply.redirect is not None:
        return Response("", reply.status, headers={"Location": reply.redirect})
    if reply.file is not None:
        content, content_type = reply.file
        return Response(content, reply.status, content_type=content_type)
    if reply.body is None:
        return Response("", reply.status)
    return _json_response(reply.status, reply.body)


def _json_response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        json.dumps(body, ensure_ascii=False),
        status,
        headers=dict(headers or {}),
        content_type="application/json",
    )


async def refuse_path(_: Exception) -> Response:
    """What an unknown path is answered with."""
    error = not_found(request.path)
    return _json_response(error.status, error.body())


async def refuse_method(_: Exception) -> Response:
    error = RestError(405, 20004)
    return _json_response(error.status, error.body())
