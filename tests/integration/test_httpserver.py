"""The HTTP server against clients that are wrong, slow, hostile or gone. Real sockets, real clock."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from attrs import evolve
from quart import request, websocket
from quart_trio import QuartTrio
from structlog.testing import capture_logs
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from daemon.httpserver import Address, CannotListenError, HttpServer, ServerLimits

LIMITS = ServerLimits(
    head_timeout_s=5, body_timeout_s=5, write_timeout_s=5, keep_alive_s=5, linger_s=1, drain_s=5
)
HELLO = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
H2C = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: %s\r\n\r\n"
FRAME = b"\x81\x82\x00\x00\x00\x00hi"

# What ended hypercorn's own trio server, or may be thought to; and how the answer begins.
HOSTILE = {
    "upgrade and a byte": (UPGRADE % b"/echo" + b"x", b"HTTP/1.1 400"),
    "upgrade and a byte on an unknown path": (UPGRADE % b"/unknown" + b"x", b"HTTP/1.1 400"),
    "upgrade and a second request": (UPGRADE % b"/echo" + HELLO, b"HTTP/1.1 400"),
    "upgrade and a frame": (UPGRADE % b"/echo" + FRAME, b"HTTP/1.1 400"),
    "upgrade without a key": (UPGRADE.replace(b"Sec-WebSocket-Key", b"X-Key") % b"/echo", b"HTTP/1.1 400"),
    "h2c with bad settings": (H2C % b"!!!", b"HTTP/1.1 200"),
    "h2c with good settings": (H2C % b"AAMAAABkAAQAAP__", b"HTTP/1.1 200"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 50, b"HTTP/1.1 505"),
    "unknown version": (b"GET / HTTP/3.7\r\nHost: x\r\n\r\n", b"HTTP/1.1 505"),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), b"HTTP/1.1 400"),
    "bad chunking": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n",
        b"HTTP/1.1 ",
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 400",
    ),
    "negative length": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nhi",
        b"HTTP/1.1 400",
    ),
    "endless head": (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"HTTP/1.1 431"),
    "no ASCII in the path": ("GET /ñandú HTTP/1.1\r\nHost: x\r\n\r\n".encode(), b"HTTP/1.1 400"),
    "WebSocket frames out of nowhere": (FRAME * 20, b"HTTP/1.1 400"),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 501"),
    "a method of 10,000 letters": (b"G" * 10_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 414"),
    "nothing at all": (b"", b""),
    "half a head": (b"GET / HT", b""),
    "half a body": (b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhi", b""),
}


class App:
    """Every way to answer that the tests need. `entered` is set when a request waits for `go_on`."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.go_on = trio.Event()
        self.left = trio.Event()

    async def __call__(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        answer = getattr(self, "answer_" + scope["path"].strip("/").replace("-", "_"), self.answer_)
        await answer(scope, receive, send)

    async def answer_(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        await reply(send, b"hello")

    async def answer_body(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                self.left.set()
                return
            body, more = body + event["body"], event["more_body"]
        await reply(send, body)

    async def answer_wait(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        self.entered.set()
        await self.go_on.wait()
        await reply(send, b"waited")

    async def answer_disconnect(
        self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        self.entered.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()

    async def answer_endless(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """An answer without end, which stops when the client is gone, as Quart's do."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pour, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()
        self.left.set()

    async def _pour(self, send: Callable[..., Any]) -> None:
        while True:
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            self.entered.set()

    async def answer_deaf(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self._pour(send)

    async def answer_events(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.go_on.wait()
        await send({"type": "http.response.body", "body": b"late"})

    async def answer_crash(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        raise RuntimeError("the app is broken")

    async def answer_leak(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        await leak()

    async def answer_echo(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"], "bytes": event["bytes"]})
        self.left.set()

    async def answer_broken_echo(
        self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        await send({"type": "websocket.accept"})
        raise RuntimeError("the app is broken")

    async def answer_policy(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": "no"})


async def leak() -> None:
    """Raise a Cancelled outside of the scope that it belongs to, as trio-websocket may (its issue 184)."""
    leaked: BaseException | None = None
    with trio.CancelScope() as cancelled:
        cancelled.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            leaked = error
            raise
    assert leaked is not None
    raise leaked


async def reply(send: Callable[..., Any], body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def quart_app() -> QuartTrio:
    app = QuartTrio(__name__)

    @app.get("/")
    async def hello() -> str:
        return "hello"

    @app.post("/body")
    async def body() -> str:
        return str(await request.get_data(as_text=True))

    @app.websocket("/echo")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    return app


@asynccontextmanager
async def serving(app: Any, limits: ServerLimits = LIMITS) -> AsyncIterator[tuple[HttpServer, Address]]:
    """A server until the block ends, which then must end at once; no test may take longer than 30 s."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            server = HttpServer(app, name="test", host="127.0.0.1", port=0, limits=limits)
            address = await nursery.start(server.run)
            yield server, address
            nursery.cancel_scope.cancel()


async def connect(address: Address) -> trio.SocketStream:
    return await trio.open_tcp_stream(*address)


async def answer(stream: trio.SocketStream, ends_with: bytes) -> bytes:
    received = bytearray()
    while not received.endswith(ends_with):
        octets = await stream.receive_some()
        assert octets, f"the server closed after {bytes(received)!r}"
        received += octets
    return bytes(received)


async def rest(stream: trio.SocketStream) -> bytes:
    """All that comes until the server closes, by whichever way."""
    received = bytearray()
    try:
        async for octets in stream:
            received += octets
    except trio.BrokenResourceError:
        pass
    return bytes(received)


@asynccontextmanager
async def websocket_to(address: Address, path: str) -> AsyncIterator[WebSocketConnection]:
    """The stream is ours to close: trio-websocket leaves it open when the server closes first."""
    async with await connect(address) as stream, trio.open_nursery() as nursery:
        yield await wrap_client_stream(nursery, stream, address[0], path)
        nursery.cancel_scope.cancel()


def code_of(closed: ConnectionClosed) -> int:
    assert closed.reason is not None
    return closed.reason.code


async def assert_healthy(address: Address) -> None:
    async with await connect(address) as stream:
        await stream.send_all(HELLO)
        assert (await answer(stream, b"hello")).startswith(b"HTTP/1.1 200")


async def attack(address: Address, octets: bytes, expected: bytes) -> None:
    """Send it, end our side, and read what is answered."""
    async with await connect(address) as stream:
        await stream.send_all(octets)
        await stream.send_eof()
        assert (await rest(stream)).startswith(expected)


@pytest.mark.parametrize("make_app", [App, quart_app])
@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_client_harms_nobody_else(make_app: Callable[[], Any], case: str) -> None:
    octets, expected = HOSTILE[case]
    async with serving(make_app()) as (server, address):
        for _ in range(5):
            async with trio.open_nursery() as clients:
                for _ in range(20):
                    clients.start_soon(attack, address, octets, expected)
                clients.start_soon(assert_healthy, address)
            await assert_healthy(address)
        assert server.crashes == 0


@pytest.mark.parametrize("make_app", [App, quart_app])
async def test_bytes_after_an_upgrade_that_come_in_a_packet_of_their_own_harm_nobody(
    make_app: Callable[[], Any],
) -> None:
    async with serving(make_app()) as (server, address):
        for _ in range(100):
            async with await connect(address) as stream:
                await stream.send_all(UPGRADE % b"/echo")
                await stream.send_all(b"\x81\x02xx")
                assert (await rest(stream))[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 101"}
        await assert_healthy(address)
        assert server.crashes == 0


POST = b"POST /body HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

# Heads that two programs may read in two ways (RFC 9112, 11.2), and the status that ends them.
AMBIGUOUS = {
    "length and chunks": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        400,
    ),
    "chunks and length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
        400,
    ),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\nhi" + SMUGGLED, 400),
    "the same length twice": (POST + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\nhi" + SMUGGLED, 400),
    "a list of lengths": (POST + b"Content-Length: 2, 2\r\n\r\nhi" + SMUGGLED, 400),
    "a signed length": (POST + b"Content-Length: +2\r\n\r\nhi" + SMUGGLED, 400),
    "a length in hexadecimal": (POST + b"Content-Length: 0x2\r\n\r\nhi" + SMUGGLED, 400),
    "a blank before the colon": (POST + b"Content-Length : 2\r\n\r\nhi" + SMUGGLED, 400),
    "an unknown coding": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED, 501),
    "a coding twice": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        501,
    ),
    "chunks in HTTP/1.0": (
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        400,
    ),
    "a folded line": (POST + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nhi" + SMUGGLED, 400),
    "a line folded with a tab": (POST + b"X: a\r\n\tb\r\n\r\n" + SMUGGLED, 400),
    "a bare LF": (POST + b"X: a\nContent-Length: 2\r\n\r\nhi" + SMUGGLED, 400),
    "bare LFs alone": (POST.replace(b"\r", b"") + b"\n" + SMUGGLED, 400),
    "a bare CR": (POST + b"X: a\rContent-Length: 2\r\n\r\nhi" + SMUGGLED, 400),
    "NUL in a value": (POST + b"X: a\0b\r\n\r\n" + SMUGGLED, 400),
    "NUL in the path": (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED, 400),
    "two hosts": (POST + b"Host: y\r\n\r\n" + SMUGGLED, 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n" + SMUGGLED, 400),
    "200 fields": (POST + b"X: a\r\n" * 200 + b"\r\n" + SMUGGLED, 431),
    "a large head at once": (POST + b"X: " + b"a" * 20_000 + b"\r\n\r\n" + SMUGGLED, 431),
    "a long path": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED, 414),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
@pytest.mark.parametrize("before", [b"", HELLO], ids=["first", "second"])
async def test_an_ambiguous_head_is_refused_and_ends_its_connection(case: str, before: bytes) -> None:
    octets, status = AMBIGUOUS[case]
    async with serving(App()) as (server, address), await connect(address) as stream:
        await stream.send_all(before + octets)
        answered = await rest(stream)
        assert answered.count(b"HTTP/1.1 200") == (before != b"")
        assert answered.count(b"HTTP/1.1 %d" % status) == 1
        assert answered.count(b"HTTP/1.1") == 1 + (before != b"")
        assert server.crashes == 0
        await assert_healthy(address)


@pytest.mark.parametrize("case", ["a folded line", "a bare LF", "a bare CR", "NUL in a value", "200 fields"])
async def test_an_ambiguous_head_is_refused_however_it_is_cut(case: str) -> None:
    octets, status = AMBIGUOUS[case]
    async with serving(App()) as (_, address), await connect(address) as stream:
        with suppress(trio.BrokenResourceError):
            for position in range(0, len(octets), 7):
                await stream.send_all(octets[position : position + 7])
                await trio.lowlevel.checkpoint()
        assert (await rest(stream)).startswith(b"HTTP/1.1 %d" % status)


async def test_a_line_end_that_comes_in_two_pieces_is_no_flaw() -> None:
    async with serving(App()) as (_, address), await connect(address) as stream:
        for octet in HELLO:
            await stream.send_all(bytes([octet]))
            await trio.lowlevel.checkpoint()
        assert (await answer(stream, b"hello")).startswith(b"HTTP/1.1 200")


async def test_headers_for_every_answer_stand_in_refusals_too_and_give_way_to_the_apps_own() -> None:
    app = App()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            extra = {"X-Always": "yes", "Content-Length": "never"}
            server = HttpServer(app, name="test", host="127.0.0.1", port=0, limits=LIMITS, headers=extra)
            address = await nursery.start(server.run)
            for octets in (HELLO, b"nonsense\r\n\r\n", b"GET /crash HTTP/1.1\r\nHost: x\r\n\r\n"):
                with capture_logs():
                    async with await connect(address) as stream:
                        await stream.send_all(octets)
                        await stream.send_eof()
                        head = (await rest(stream)).partition(b"\r\n\r\n")[0]
                assert head.count(b"\r\nx-always: yes") == 1
                assert b"never" not in head
                assert b"server:" not in head.lower()
            nursery.cancel_scope.cancel()


async def test_a_flood_of_requests_on_one_connection_waits_outside() -> None:
    """While one is answered no more than a socket's worth is read of those behind it."""
    app = App()
    async with serving(app) as (server, address), await connect(address) as stream:
        await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await app.entered.wait()
        with trio.move_on_after(0.5) as flood:
            while True:
                await stream.send_all(HELLO * 1_000)
        assert flood.cancelled_caught
        async with await connect(address) as other:
            await other.send_all(HELLO)
            await answer(other, b"hello")
        assert server.crashes == 0


async def test_clients_that_reset_their_connections_harm_nobody() -> None:
    linger_none = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    async with serving(App()) as (server, address):
        for octets in (b"", b"GET /", HELLO, UPGRADE % b"/echo", b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"):
            for _ in range(50):
                async with await connect(address) as stream:
                    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger_none)
                    await stream.send_all(octets)
        await assert_healthy(address)
        assert server.crashes == 0


@pytest.mark.parametrize("path", [b"crash", b"leak"])
async def test_a_crash_of_the_app_is_answered_with_500(path: bytes) -> None:
    async with serving(App()) as (server, address), await connect(address) as stream:
        with capture_logs() as logs:
            await stream.send_all(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            assert (await rest(stream)).startswith(b"HTTP/1.1 500")
        assert [(log["event"], log["log_level"]) for log in logs] == [("request crashed", "error")]
        assert server.crashes == 0
        await assert_healthy(address)


async def test_a_crash_tells_no_name_that_opens_something() -> None:
    for path, told in (
        (b"/voice/recordings/secret.link", "/voice/recordings/…"),
        (b"/voice/menu?c=1", "/voice/menu"),
    ):
        async with serving(_crash) as (_, address), await connect(address) as stream:
            with capture_logs() as logs:
                await stream.send_all(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
                assert (await rest(stream)).startswith(b"HTTP/1.1 500")
            assert [log["path"] for log in logs] == [told]


async def test_a_crash_of_the_app_ends_its_websocket_with_1011() -> None:
    async with serving(App()) as (server, address):
        with capture_logs() as logs:
            async with websocket_to(address, "/broken-echo") as socket:
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.get_message()
        assert code_of(closed.value) == 1011
        assert [log["event"] for log in logs] == ["request crashed"]
        assert server.crashes == 0


async def _crash(*_: object) -> None:
    raise RuntimeError("the protocol is broken")


async def _leak(*_: object) -> None:
    await leak()


@pytest.mark.parametrize("crash", [_crash, _leak])
async def test_a_crash_of_a_connection_ends_it_alone(
    crash: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(App()) as (server, address), await connect(address) as healthy:
        await healthy.send_all(HELLO)
        await answer(healthy, b"hello")
        with capture_logs() as logs, monkeypatch.context() as patch:
            patch.setattr("daemon.httpserver._Http11._check_protocol", crash)
            async with await connect(address) as stream:
                await stream.send_all(HELLO)
                assert await rest(stream) == b""
        if crash is _crash:
            assert server.crashes == 1
            assert [(log["event"], log["log_level"]) for log in logs] == [("connection crashed", "error")]
        await healthy.send_all(HELLO)
        await answer(healthy, b"hello")


async def test_requests_on_one_connection_are_answered_in_order() -> None:
    async with serving(App()) as (_, address), await connect(address) as stream:
        for body in (b"one", b"two"):
            await stream.send_all(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n" + body)
            assert b"content-length: 3" in await answer(stream, body)
        pipelined = b"".join(
            b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n%03d" % n for n in range(50)
        )
        await stream.send_all(pipelined + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answered = await rest(stream)
        positions = [answered.index(b"\r\n\r\n%03d" % n) for n in range(50)]
        assert positions == sorted(positions)
        assert answered.endswith(b"hello")


async def test_a_head_without_a_length_does_not_wait_for_its_body() -> None:
    app = App()
    async with serving(app) as (_, address), await connect(address) as stream:
        await stream.send_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        app.go_on.set()
        await answer(stream, b"4\r\nlate\r\n0\r\n\r\n")


async def test_a_body_of_many_pieces_that_the_app_never_reads_does_not_hold_the_connection() -> None:
    async with serving(App()) as (_, address), await connect(address) as stream:
        pieces = b"1\r\nx\r\n" * 1_000
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces)
        assert (await rest(stream)).endswith(b"hello")
        await assert_healthy(address)


@pytest.mark.parametrize("body", [b"", b"0123"], ids=["before its body", "amid its body"])
async def test_an_answer_before_the_requests_end_says_that_it_is_the_last(body: bytes) -> None:
    async with serving(App()) as (_, address), await connect(address) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n" + body)
        head = await answer(stream, b"hello")
        assert b"\r\nconnection: close\r\n" in head.lower()
        assert await rest(stream) == b""


async def test_an_answer_to_a_whole_request_is_not_the_last() -> None:
    async with serving(App()) as (_, address), await connect(address) as stream:
        for _ in range(2):
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n0123")
            assert b"\r\nconnection: close\r\n" not in (await answer(stream, b"hello")).lower()


async def test_an_app_learns_that_its_client_left() -> None:
    app = App()
    async with serving(app) as (_, address):
        async with await connect(address) as stream:
            await stream.send_all(b"GET /disconnect HTTP/1.1\r\nHost: x\r\n\r\n")
            await app.entered.wait()
        await app.left.wait()


@pytest.mark.parametrize("make_app", [App, quart_app])
async def test_a_websocket_echoes(make_app: Callable[[], Any]) -> None:
    async with serving(make_app()) as (server, address):
        async with websocket_to(address, "/echo") as socket:
            for message in ("hola", "x" * 200_000, b"\x00\xff"):
                await socket.send_message(message)
                assert await socket.get_message() == message
            await socket.ping()
            await socket.aclose()
        assert server.crashes == 0


async def test_a_websocket_that_the_app_closes_gives_its_code_to_a_client_that_is_sending() -> None:
    async with serving(App()) as (_, address):
        for _ in range(20):
            async with websocket_to(address, "/policy") as socket, trio.open_nursery() as nursery:
                nursery.start_soon(_talk, socket)
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.get_message()
                assert code_of(closed.value) == 1008


async def _talk(socket: WebSocketConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            await socket.send_message("x" * 1_000)


async def test_a_message_above_the_limit_ends_the_websocket_with_1009() -> None:
    app = App()
    async with serving(app, evolve(LIMITS, websocket_max_message_bytes=1_000)) as (_, address):
        async with websocket_to(address, "/echo") as socket:
            await socket.send_message("x" * 1_001)
            with pytest.raises(ConnectionClosed) as closed:
                await socket.get_message()
            assert code_of(closed.value) == 1009
        await app.left.wait()


async def test_a_websocket_agrees_on_no_compression() -> None:
    async with serving(App()) as (_, address), await connect(address) as stream:
        offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        await stream.send_all(UPGRADE[:-2] % b"/echo" + offer)
        head = await answer(stream, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        assert b"sec-websocket-extensions" not in head.lower()


async def test_a_head_that_is_never_finished_is_cut() -> None:
    async with serving(App(), evolve(LIMITS, head_timeout_s=0.2)) as (server, address):
        async with await connect(address) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(_drip, stream)
            assert await rest(stream) == b""
            nursery.cancel_scope.cancel()
        async with await connect(address) as silent:
            assert await rest(silent) == b""
        assert server.crashes == 0


async def _drip(stream: trio.SocketStream) -> None:
    """One header byte after the other, always soon enough for a limit on silence."""
    await stream.send_all(b"GET / HTTP/1.1\r\nX-Slow: ")
    try:
        while True:
            await stream.send_all(b"x")
            await trio.sleep(0.02)
    except trio.BrokenResourceError:
        pass


async def test_a_later_head_that_is_never_finished_is_cut_too() -> None:
    async with (
        serving(App(), evolve(LIMITS, head_timeout_s=0.2)) as (_, address),
        await connect(address) as stream,
    ):
        await stream.send_all(HELLO)
        await answer(stream, b"hello")
        await stream.send_all(HELLO[:-2])
        assert await rest(stream) == b""


async def test_a_body_that_is_never_finished_is_cut_and_the_app_learns_of_it() -> None:
    app = App()
    async with (
        serving(app, evolve(LIMITS, body_timeout_s=0.2)) as (_, address),
        await connect(address) as stream,
    ):
        await stream.send_all(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhi")
        assert await rest(stream) == b""
        await app.left.wait()


async def test_a_slow_app_is_not_taken_for_a_slow_body() -> None:
    app = App()
    limits = evolve(LIMITS, body_timeout_s=0.02, head_timeout_s=0.02)
    async with serving(app, limits) as (_, address), await connect(address) as stream:
        await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await app.entered.wait()
        async with await connect(address) as silent:
            # Once this one is cut, the server has looked at its limits.
            assert await rest(silent) == b""
        app.go_on.set()
        await answer(stream, b"waited")


async def test_a_connection_idle_for_too_long_is_closed() -> None:
    async with (
        serving(App(), evolve(LIMITS, keep_alive_s=0.1)) as (_, address),
        await connect(address) as stream,
    ):
        await stream.send_all(HELLO)
        assert (await rest(stream)).endswith(b"hello")


async def test_a_client_that_does_not_read_is_cut() -> None:
    app = App()
    limits = evolve(LIMITS, write_timeout_s=0.2)
    async with serving(app, limits) as (server, address), await connect(address) as stream:
        await stream.send_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await app.left.wait()
        assert server.crashes == 0


async def test_an_app_that_goes_on_answering_a_client_that_left_leaves_the_loop_to_others() -> None:
    app = App()
    async with serving(app) as (_, address):
        async with await connect(address) as stream:
            await stream.send_all(b"GET /deaf HTTP/1.1\r\nHost: x\r\n\r\n")
            await app.entered.wait()
        await assert_healthy(address)


async def test_above_the_connection_limit_clients_wait_for_their_turn() -> None:
    app = App()
    limits = evolve(LIMITS, connections_max=2)
    async with serving(app, limits) as (server, address):
        async with await connect(address) as first, await connect(address) as second:
            for stream in (first, second):
                await stream.send_all(HELLO)
                await answer(stream, b"hello")
            assert server.connections == 2
            async with await connect(address) as third:
                await third.send_all(HELLO)
                # The second gets answers, the third none: it has not been accepted.
                await second.send_all(HELLO)
                await answer(second, b"hello")
                assert server.connections == 2
                await first.aclose()
                await answer(third, b"hello")
        await assert_healthy(address)


async def test_abort_closes_a_websocket_without_a_close_frame() -> None:
    app = App()
    async with serving(app) as (server, address):
        async with await connect(address) as stream:
            await stream.send_all(UPGRADE % b"/echo")
            await answer(stream, b"\r\n\r\n")
            peer = stream.socket.getsockname()
            server.abort(peer)
            assert await rest(stream) == b""
            await app.left.wait()
            server.abort(peer)
        assert server.crashes == 0


async def test_a_taken_port_is_named_in_the_error() -> None:
    async with serving(App()) as (_, (host, port)):
        second = HttpServer(App(), name="second", host=host, port=port, limits=LIMITS)
        with pytest.raises(CannotListenError, match=rf"127\.0\.0\.1:{port}: the port is taken"):
            await second.run()


async def test_an_unknown_host_is_named_in_the_error() -> None:
    with pytest.raises(CannotListenError, match=r"no\.such\.host\.invalid:0: "):
        await HttpServer(App(), name="x", host="no.such.host.invalid", port=0, limits=LIMITS).run()


async def drained_in_s(server: HttpServer) -> float:
    started = trio.current_time()
    await server.drain()
    return trio.current_time() - started


async def test_idle_connections_do_not_delay_the_drain() -> None:
    async with serving(App()) as (server, address):
        async with (
            await connect(address) as used,
            await connect(address) as fresh,
            await connect(address) as _,
        ):
            await used.send_all(HELLO)
            await answer(used, b"hello")
            assert await drained_in_s(server) < 3
            assert await rest(used) == await rest(fresh) == b""
        with pytest.raises(OSError, match="connect"):
            await connect(address)


async def test_a_request_in_flight_finishes_during_the_drain_and_says_it_is_the_last() -> None:
    app = App()
    async with serving(app) as (server, address), await connect(address) as stream:
        await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await app.entered.wait()
        server.begin_drain()
        app.go_on.set()
        answered = await rest(stream)
        assert answered.startswith(b"HTTP/1.1 200")
        assert answered.endswith(b"waited")
        assert b"connection: close" in answered
        assert await drained_in_s(server) < 3


async def test_a_head_that_has_begun_is_still_answered_during_the_drain() -> None:
    async with serving(App()) as (server, address), await connect(address) as stream:
        await stream.send_all(HELLO[:10])
        # Once another is answered, the bytes that came earlier have been read.
        async with await connect(address) as other:
            await other.send_all(HELLO)
            await answer(other, b"hello")
        server.begin_drain()
        await stream.send_all(HELLO[10:])
        assert (await rest(stream)).endswith(b"hello")


@pytest.mark.parametrize("path", [b"wait", b"endless", b"deaf", b"disconnect"])
async def test_what_does_not_finish_is_closed_at_the_drain_limit(path: bytes) -> None:
    app = App()
    async with (
        serving(app, evolve(LIMITS, drain_s=0.2)) as (server, address),
        await connect(address) as stream,
    ):
        await stream.send_all(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        await app.entered.wait()
        assert 0.2 <= await drained_in_s(server) < 3
        assert server.connections == 0
        assert server.crashes == 0


async def test_a_websocket_is_closed_at_the_drain_limit() -> None:
    async with (
        serving(App(), evolve(LIMITS, drain_s=0.2)) as (server, address),
        await connect(address) as stream,
    ):
        await stream.send_all(UPGRADE % b"/echo")
        await answer(stream, b"\r\n\r\n")
        assert 0.2 <= await drained_in_s(server) < 3


async def test_cancelling_closes_everything_at_once() -> None:
    app = App()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            server = HttpServer(app, name="test", host="127.0.0.1", port=0, limits=LIMITS)
            address = await nursery.start(server.run)
            stream = await connect(address)
            await stream.send_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            await app.entered.wait()
            nursery.cancel_scope.cancel()
        assert server.connections == 0
        await rest(stream)
        await stream.aclose()
