"""Requests through the web application on real sockets: bodies in pieces, clients that leave, streams, threads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import pytest
import trio
import trio.testing
from quart import Response, request
from quart_trio import QuartTrio

from daemon.httpserver import HttpServer, ServerLimits
from daemon.web.app import make_app
from daemon.web.problem import HttpError

BODY_MAX_BYTES = 1000
LIMITS = ServerLimits(head_timeout_s=5, body_timeout_s=5, write_timeout_s=5, linger_s=1, drain_s=5)


class Views:
    """Views that tell how far they came; `go_on` lets the one that waits end."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.go_on = trio.Event()
        self.done = trio.Event()
        self.streaming_ended = trio.Event()

    def register(self, app: QuartTrio) -> None:
        for name in ("whole", "pieces", "unread", "refused", "work", "endless", "broken"):
            app.add_url_rule(f"/{name}", view_func=getattr(self, name), methods=["POST"])

    async def whole(self) -> Response:
        return Response(await request.get_data())

    async def pieces(self) -> Response:
        return Response(b"|".join([piece async for piece in request.body]))

    async def unread(self) -> Response:
        return Response(b"as you like")

    async def refused(self) -> NoReturn:
        raise HttpError(status=403, code="no", message="no")

    async def broken(self) -> NoReturn:
        raise KeyError("an accident")

    async def work(self) -> Response:
        self.entered.set()
        await self.go_on.wait()
        self.done.set()
        return Response(b"", status=204)

    async def endless(self) -> Response:
        async def stream() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                await trio.sleep_forever()
            finally:
                self.streaming_ended.set()

        response = Response(stream())
        response.timeout = None
        return response


class Counted:
    def __init__(self) -> None:
        self.requests: list[tuple[str, int]] = []
        self.called = trio.Event()

    def __call__(self, route: str, status: int, seconds: float) -> None:
        self.requests.append((route, status))
        self.called.set()


@asynccontextmanager
async def serving(views: Views, counted: Counted | None = None) -> AsyncIterator[tuple[str, int]]:
    app = make_app(
        "test", [views], max_body_bytes=BODY_MAX_BYTES, request_timeout_s=5, count=counted or Counted()
    )
    server = HttpServer(app, name="test", host="127.0.0.1", port=0, limits=LIMITS)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(server.run)
            nursery.cancel_scope.cancel()


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


async def answer_to(address: tuple[str, int], *parts: bytes) -> bytes:
    """What comes back until the server hangs up or says nothing more that it must."""
    async with await trio.open_tcp_stream(*address) as stream:
        for part in parts:
            await stream.send_all(part)
        answer = b""
        async for octets in stream:
            answer += octets
    return answer


@pytest.mark.parametrize("path", ["/whole", "/pieces"])
async def test_a_body_that_comes_in_pieces_is_read_whole(path: str) -> None:
    async with serving(Views()) as address, await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(head(path, "Content-Length: 6", "Connection: close") + b"abc")
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(b"def")
        answer = b"".join([octets async for octets in stream])

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.replace(b"|", b"").endswith(b"abcdef")


async def test_a_view_may_answer_without_reading_the_body() -> None:
    body = b"x" * 500
    async with serving(Views()) as address:
        answer = await answer_to(
            address, head("/unread", "Content-Length: 500") + body + head("/unread", "Connection: close")
        )

    assert answer.count(b"as you like") == 2


@pytest.mark.parametrize("path", ["/whole", "/pieces"])
async def test_a_body_over_the_limit_is_refused(path: str) -> None:
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    async with serving(Views()) as address:
        announced = await answer_to(address, head(path, "Content-Length: 5000", "Connection: close"))
        found_out = await answer_to(
            address, head(path, "Transfer-Encoding: chunked", "Connection: close") + chunk + b"0\r\n\r\n"
        )

    assert announced.startswith(b"HTTP/1.1 413")
    assert found_out.startswith(b"HTTP/1.1 413")


async def test_a_view_is_carried_to_its_end_when_its_client_leaves() -> None:
    views = Views()
    async with serving(views) as address:
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(head("/work"))
            await views.entered.wait()
        await trio.testing.wait_all_tasks_blocked()
        views.go_on.set()
        await views.done.wait()


async def test_a_client_that_leaves_in_its_body_counts_as_a_bad_request() -> None:
    counted = Counted()
    async with serving(Views(), counted) as address:
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(head("/whole", "Content-Length: 6") + b"abc")
        await counted.called.wait()

    assert counted.requests == [("/whole", 400)]


async def test_a_stream_ends_when_nobody_listens_any_more() -> None:
    views = Views()
    async with serving(views) as address:
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(head("/endless"))
            answer = b""
            while not answer.endswith(b"first\r\n"):
                answer += await stream.receive_some()
        await views.streaming_ended.wait()


@pytest.mark.expects_error_log
@pytest.mark.parametrize("path", ["/unread", "/refused", "/nowhere", "/broken"])
async def test_no_request_takes_a_thread(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Quart runs hooks and handlers in one when they are plain functions, at the price of several requests.
    asked: list[object] = []

    async def refuse(*work: object, **_: object) -> NoReturn:
        asked.append(work)
        raise AssertionError("a thread was asked for")

    async with serving(Views()) as address:
        monkeypatch.setattr(trio.to_thread, "run_sync", refuse)
        await answer_to(address, head(path, "Connection: close"))

    assert not asked
