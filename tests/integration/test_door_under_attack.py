"""A real daemon under 20,000 requests that are made to kill it, with slow and greedy clients beside them.

Meanwhile, and afterwards, its customers' messages are taken in; and when it is over nothing of it is left.
"""

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path

import pytest
import trio
from attrs import define, field
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from tests.integration.relay import Relay, open_relay

WARM_UP = 2_000
ATTACKERS = 20
LIMIT_S = 120
# What the customer's own conversation opens: an agent's session, connections to the vendors.
SOCKETS_MORE = 10
GROWTH_MAX_BYTES = 12 * 1024 * 1024
PATHS = (b"/api/webhook/twilio/incoming", b"/voice/stream", b"/", b"/%00", b"/api/webhook/elevenlabs")

SETTINGS = """
[http]
head_timeout_s = 2
request_timeout_s = 3
keep_alive_s = 2
"""

_KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
_UPGRADE = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + _KEY
_POST = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
KILLING = (
    # The request that ends a plain hypercorn server on trio, and its relatives (hypercorn issue 225).
    _UPGRADE + b"\r\nx",
    _UPGRADE + b"\r\n\x81\x82\x00\x00\x00\x00hi",
    _UPGRADE + b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    _UPGRADE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" + b"\xc1\xff" * 100,
    _UPGRADE.replace(b"13", b"99") + b"\r\n",
    b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: !\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    # A TLS handshake, and bytes of every kind.
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32)) * 12,
    bytes(range(256)),
    # One request hidden in another.
    _POST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    _POST + b"Content-Length: 0\r\nContent-Length: 30\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    _POST + b"X: a\r\n b\r\n\r\n",
    _POST + b"X: a\nY: b\r\n\r\n",
    _POST + b"X: \0\r\n\r\n",
    # Too much, too little, and nonsense that is well formed.
    b"GET %s HTTP/1.1\r\nX: " + b"x" * 17_000,
    _POST + b"X: y\r\n" * 150 + b"\r\n",
    _POST + b"Content-Length: 99999999999\r\n\r\nx",
    _POST + b"Content-Length: 9\r\nX-Twilio-Signature: \xff\xfe\r\n\r\nBody=%%00a",
    _POST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nx",
    b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE %s HTTP/1.1\r\nHost: x\r\n\r\n" * 2,
    b"GET /\xc3\xb1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"",
)

pytestmark = pytest.mark.processes


def attacks() -> Iterator[bytes]:
    for path in cycle(PATHS):
        for killing in KILLING:
            yield killing.replace(b"%s", path, 1).replace(b"%%", b"%")


@define(eq=False)
class Siege:
    relay: Relay
    answered: Counter[int] = field(factory=Counter)

    async def attack(self, times: int) -> None:
        """So many killing requests, by `ATTACKERS` at a time; in threads, which cost this side least."""
        async with trio.open_nursery() as nursery:
            for number in range(ATTACKERS):
                share = list(islice(attacks(), number, number + times, ATTACKERS))
                nursery.start_soon(trio.to_thread.run_sync, self._attacker, share, number % 2 == 0)

    def _attacker(self, share: Sequence[bytes], is_patient: bool) -> None:  # noqa: FBT001
        """Half of them wait for the answer, the others are gone at once."""
        for octets in share:
            stream = socket.create_connection(("127.0.0.1", self.relay.public_port), timeout=LIMIT_S)
            with stream, suppress(OSError):  # refused while it was still sending
                stream.send(octets)
                if is_patient:
                    stream.shutdown(socket.SHUT_WR)
                    stream.recv(4096)

    async def drip(self, start: bytes) -> None:
        """A byte a second, until cut off; then again."""
        while True:
            stream = await self._connected()
            async with stream:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(start)
                    while True:
                        await stream.send_all(b"x")
                        await trio.sleep(1)

    async def flood(self) -> None:
        """Requests without end on one connection, whose answers are never read."""
        stream = await self._connected()
        async with stream:
            with suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 500)

    async def customers(self) -> None:
        """Twilio's requests, one after the other."""
        number = 0
        while True:
            number += 1
            self.answered[await self.message(number)] += 1

    async def message(self, number: int) -> int:
        """The status that a customer's message is answered with."""
        account = self.relay.account
        url = f"http://127.0.0.1:{self.relay.public_port}/api/webhook/twilio/incoming"
        fields = {
            "MessageSid": f"SM{number:032}",
            "AccountSid": account.account_sid,
            "From": "whatsapp:+573001234567",
            "To": f"whatsapp:{account.whatsapp_from}",
            "Body": f"Hola {number}",
            "NumMedia": "0",
        }
        signature = RequestValidator(account.auth_token).compute_signature(url, fields)
        headers = {"X-Twilio-Signature": signature, "Connection": "close"}
        answer = await self.relay.http.post(url, data=fields, headers=headers)
        return answer.status_code

    async def _connected(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.relay.public_port)


def memory_bytes(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def sockets(process_id: int) -> int:
    count = 0
    for link in Path(f"/proc/{process_id}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            count += link.readlink().name.startswith("socket:")
    return count


async def until_sockets(process_id: int, count: int) -> None:
    """A process does not tell when it closes one."""
    while sockets(process_id) > count:  # noqa: ASYNC110
        await trio.sleep(0.1)


@pytest.mark.parametrize("attacks", [6_000, pytest.param(20_000, marks=pytest.mark.long)])
async def test_thousands_of_killing_requests_change_nothing(
    attacks: int, database: str, tmp_path: Path
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_relay(database, tmp_path, settings=SETTINGS) as relay:
            siege = Siege(relay)
            process_id = relay.process_id("daemon")
            assert await siege.message(0) == 200
            quiet = sockets(process_id) + SOCKETS_MORE
            await siege.attack(WARM_UP)
            await until_sockets(process_id, quiet)
            memory = memory_bytes(process_id)

            async with trio.open_nursery() as nursery:
                for _ in range(30):
                    nursery.start_soon(siege.drip, b"GET / HTTP/1.1\r\nX-Slow: ")
                    nursery.start_soon(siege.drip, _POST % b"/" + b"Content-Length: 60000\r\n\r\n")
                for _ in range(2):
                    nursery.start_soon(siege.flood)
                nursery.start_soon(siege.customers)
                await siege.attack(attacks - WARM_UP)
                nursery.cancel_scope.cancel()

            assert siege.answered.keys() == {200}
            assert await siege.message(1_000_000) == 200
            await until_sockets(process_id, quiet)
            assert memory_bytes(process_id) - memory < GROWTH_MAX_BYTES
            assert (await relay.status())["phase"] == "serving"
            assert "connection crashed" not in relay.log
            assert "request crashed" not in relay.log
            assert await relay.stop_daemon() == 0
