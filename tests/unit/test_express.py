"""The express way past Quart: who goes it, and how every end of a view looks to the client."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from attrs import define, field

from daemon.web.express import Answer, Express, ExpressRequest
from daemon.web.problem import HttpError

PATH = "/api/webhook/twilio/status"


@define
class Client:
    """Sends one request and keeps what comes back."""

    pieces: Sequence[bytes] = (b"",)
    leaves: bool = False
    sent: list[Mapping[str, Any]] = field(factory=list)
    counted: list[tuple[str, int]] = field(factory=list)
    passed_on: list[str] = field(factory=list)

    async def ask(
        self,
        view: Any,
        *,
        method: str = "POST",
        path: str = PATH,
        query: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        async def otherwise(scope: Any, receive: Any, send: Any) -> None:
            del receive, send
            self.passed_on.append(scope["path"])

        events = [
            {"type": "http.request", "body": piece, "more_body": self.leaves or place < len(self.pieces) - 1}
            for place, piece in enumerate(self.pieces)
        ]

        async def receive() -> Mapping[str, Any]:
            return events.pop(0) if events else {"type": "http.disconnect"}

        async def send(event: Mapping[str, Any]) -> None:
            self.sent.append(event)

        express = Express(
            views={PATH: view},
            otherwise=otherwise,
            count=lambda route, status, _seconds: self.counted.append((route, status)),
        )
        scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": headers}
        await express(scope, receive, send)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        body: bytes = self.sent[1]["body"]
        return body


async def hello(_request: ExpressRequest) -> Answer:
    return Answer(status=200, body=b"<Response/>", content_type="text/xml")


async def test_an_answer_goes_out_with_its_length_and_type() -> None:
    client = Client()
    await client.ask(hello)
    assert (client.status, client.body) == (200, b"<Response/>")
    assert client.headers == {b"content-type": b"text/xml", b"content-length": b"11"}
    assert client.counted == [(PATH, 200)]


async def test_no_content_has_no_length() -> None:
    async def nothing(_request: ExpressRequest) -> Answer:
        return Answer(status=204)

    client = Client()
    await client.ask(nothing)
    assert (client.status, client.headers, client.body) == (204, {}, b"")


@pytest.mark.parametrize("path", ["/", PATH + "/", PATH.upper(), "/api/webhook/elevenlabs"])
async def test_every_other_path_is_quarts(path: str) -> None:
    client = Client()
    await client.ask(hello, path=path)
    assert (client.passed_on, client.sent, client.counted) == ([path], [], [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"])
async def test_another_method_is_refused_with_the_one_that_is_allowed(method: str) -> None:
    client = Client()
    await client.ask(hello, method=method)
    assert client.status == 405
    assert client.headers[b"allow"] == b"POST"
    assert json.loads(client.body)["error"]["code"] == "method_not_allowed"


async def test_a_problem_is_told_as_json() -> None:
    async def refuse(_request: ExpressRequest) -> Answer:
        raise HttpError(
            status=400, code="bad_field", message="missing", field="From", headers={"X-Why": "so"}
        )

    client = Client()
    await client.ask(refuse)
    assert client.status == 400
    assert client.headers[b"content-type"] == b"application/json"
    assert client.headers[b"x-why"] == b"so"
    assert json.loads(client.body) == {"error": {"code": "bad_field", "message": "missing", "field": "From"}}


@pytest.mark.expects_error_log
async def test_a_crash_is_one_answer_and_says_nothing() -> None:
    async def crash(_request: ExpressRequest) -> Answer:
        raise RuntimeError("a secret")

    client = Client()
    await client.ask(crash)
    assert (client.status, client.counted) == (500, [(PATH, 500)])
    assert b"secret" not in client.body


async def test_who_leaves_before_the_end_gets_no_answer() -> None:
    async def read(request: ExpressRequest) -> Answer:
        return Answer(status=200, body=b"".join([piece async for piece in request.body]))

    client = Client(pieces=[b"ab", b"c"], leaves=True)
    await client.ask(read)
    assert (client.sent, client.counted) == ([], [])


async def test_a_view_reads_what_was_sent() -> None:
    seen: dict[str, object] = {}

    async def look(request: ExpressRequest) -> Answer:
        seen.update(
            body=b"".join([piece async for piece in request.body]),
            kind=request.headers.get("Content-Type", "none"),
            missing=request.headers.get("X-Missing", "none"),
            length=request.content_length,
            query=request.query,
        )
        return Answer(status=204)

    client = Client(pieces=[b"ab", b"", b"c"])
    headers = [(b"content-type", b"a/b"), (b"content-length", b"3"), (b"content-type", b"c/d")]
    await client.ask(look, query=b"m=1&m=2&x=%20", headers=headers)
    assert seen == {
        "body": b"abc",
        "kind": "a/b",
        "missing": "none",
        "length": 3,
        "query": {"m": "1", "x": " "},
    }


@pytest.mark.parametrize("given", [b"", b"-1", b"+3", b"3 ", b"\xb2", b"1e3"])
async def test_a_length_that_is_none_is_no_length(given: bytes) -> None:
    lengths: list[int | None] = []

    async def look(request: ExpressRequest) -> Answer:
        lengths.append(request.content_length)
        return Answer(status=204)

    await Client().ask(look, headers=[(b"content-length", given)])
    assert lengths == [None]
