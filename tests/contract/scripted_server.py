"""A server on loopback that answers what a test scripts, and misbehaves on demand."""

import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import parse_qs, urlsplit

import trio
from attrs import define, field, frozen

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Step = Callable[[Stream], Awaitable[None]]


@frozen(kw_only=True)
class Seen:
    """A request as it arrived: header names in lower case, the query decoded."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: bytes

    @property
    def form(self) -> Mapping[str, list[str]]:
        return parse_qs(self.body.decode(), keep_blank_values=True)


@define
class Script:
    """What the server does with each request in turn; the last step goes on for ever."""

    steps: list[Step]
    seen: list[Seen] = field(factory=list)
    connections: int = 0

    async def serve(self, stream: Stream) -> None:
        self.connections += 1
        async with stream:
            try:
                while (request := await read_request(stream)) is not None:
                    self.seen.append(request)
                    step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
                    await step(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client left, or the step hung up


async def read_request(stream: Stream) -> Seen | None:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = await stream.receive_some()
        if not chunk:
            return None
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    request_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += await stream.receive_some()
    method, target, _ = request_line.split(" ")
    url = urlsplit(target)
    return Seen(
        method=method,
        path=url.path,
        headers=headers,
        query=parse_qs(url.query),
        body=body,
    )


def answer(status: int, body: object, content_type: str = "application/json", **headers: str) -> Step:
    text = body if isinstance(body, str) else json.dumps(body)

    async def send(stream: Stream) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(text)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await stream.send_all("\r\n".join([*lines, "", text]).encode())

    return send


async def reset(stream: Stream) -> None:
    tcp = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await tcp.aclose()


async def hang(stream: Stream) -> None:
    await trio.sleep_forever()


async def answer_half(stream: Stream) -> None:
    await stream.send_all(b'HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{"sid": ')


async def hang_after_half(stream: Stream) -> None:
    await answer_half(stream)
    await trio.sleep_forever()


async def close_after_half(stream: Stream) -> None:
    await answer_half(stream)
    await stream.aclose()


def then_close(step: Step) -> Step:
    async def close(stream: Stream) -> None:
        await step(stream)
        await stream.aclose()

    return close


@asynccontextmanager
async def listening(handle: Step, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve connections for at most ten seconds; gives the origin."""
    serve = trio.serve_tcp if tls is None else partial(trio.serve_ssl_over_tcp, ssl_context=tls)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(serve, handle, 0, host="127.0.0.1"))
            tcp = listener if tls is None else listener.transport_listener
            port = tcp.socket.getsockname()[1]
            yield f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def scripted(*steps: Step, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Script, str]]:
    script = Script(list(steps))
    async with listening(script.serve, tls) as origin:
        yield script, origin
