"""The voice routes of running processes, which a whole module shares: a client that knocks as Twilio would, or nearly."""

import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree as ET

import httpx
import trio
from attrs import define, field, frozen
from psycopg import sql
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from wsproto import ConnectionType, WSConnection
from wsproto.events import BytesMessage, CloseConnection, Event, RejectConnection, Request, TextMessage

from daemon.store.connection import Connection
from tests.integration.relay import Relay
from tests.postgres import until_row

LIMIT_S = 30
FORM = "application/x-www-form-urlencoded"
CALLER = "+573001234567"
JESUS, LAURA, LAURO = "+525599990001", "+525599990002", "+525599990003"
STRANGER = "+525599990009"
ELSEWHERE = "+525550000077"

SETTINGS = f"""
[store]
acquire_timeout_s = 2
[transfer]
ring_timeout_s = 15
[[transfer.advisors]]
name = "Jesús Pérez"
phone = "{JESUS}"
[[transfer.advisors]]
name = "Laura"
phone = "{LAURA}"
[[transfer.advisors]]
name = "Laura Gómez"
phone = "{LAURO}"
"""

_SIDS = count(1)


def new_sid(prefix: str = "CA") -> str:
    """Of nothing that is anywhere."""
    return f"{prefix}{next(_SIDS):032x}"


@frozen
class Answered:
    """A response, with its document if it is one."""

    response: httpx.Response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def problem(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.response.json()["error"]
        return found

    @property
    def document(self) -> Any:
        """The root of the TwiML; checked to be whole and named as such."""
        assert self.status == 200, self.response.text
        assert self.response.headers["Content-Type"] == "text/xml"
        root = ET.fromstring(self.response.content)
        assert root.tag == "Response"
        return root

    @property
    def verbs(self) -> list[str]:
        return [element.tag for element in self.document]


@define(eq=False)
class VoiceDoor:
    """Knocks at the voice routes of a relay.

    Attributes:
        callers: SIDs of their legs, which are over when the test is.
    """

    relay: Relay
    _observer: Connection | None
    _http: httpx.AsyncClient
    callers: list[str] = field(factory=list)

    @property
    def observer(self) -> Connection:
        """A connection to the daemon's database."""
        assert self._observer is not None, "this door has no database"
        return self._observer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.relay.public_port}"

    def form(self, **fields: str | None) -> dict[str, str]:
        """As Twilio fills it in; None leaves a field out."""
        given = {"AccountSid": self.relay.account.account_sid, "ApiVersion": "2010-04-01", **fields}
        return {name: value for name, value in given.items() if value is not None}

    def signature(self, path: str, fields: Mapping[str, str]) -> str:
        signed: str = RequestValidator(self.relay.account.auth_token).compute_signature(
            self.url + path, fields
        )
        return signed

    async def knock(
        self, path: str, fields: Mapping[str, str], *, method: str = "POST", **options: Any
    ) -> Answered:
        """A request with a form. Options: `signature`, None for none; `content`; `headers`."""
        headers = {"Content-Type": FORM, "Connection": "close"}
        signature = options.pop("signature", self.signature(path, fields))
        if signature is not None:
            headers["X-Twilio-Signature"] = signature
        headers |= options.pop("headers", {})
        content = options.pop("content", urlencode(fields))
        return Answered(await self._http.request(method, self.url + path, content=content, headers=headers))

    async def fetch(self, path: str, *, signature: str | None = None) -> Answered:
        """A GET, signed as such unless a signature is given."""
        headers = {"X-Twilio-Signature": self.signature(path, {}) if signature is None else signature}
        return Answered(await self._http.get(self.url + path, headers={**headers, "Connection": "close"}))

    async def ask_for_transfer(self, fields: Mapping[str, Any], **options: Any) -> httpx.Response:
        """`/voice/transfer/init` as JSON with the tool token; `headers` and `content` go before that."""
        token = self.relay.account.tool_token
        headers = {"Authorization": f"Bearer {token}", "Connection": "close", **options.pop("headers", {})}
        options = (
            {"json": fields, **options} if "data" not in options and "content" not in options else options
        )
        return await self._http.post(f"{self.url}/voice/transfer/init", headers=headers, **options)

    # --- calls whose every report is ours: their callers wait at another number of this account ---

    async def new_caller(self) -> str:
        """The leg of somebody who is on the line."""
        lab = self.relay.twilio_lab
        music = {"voice_url": f"{self.url}/voice/hold-music"}
        (await self._http.put(f"{lab}/numbers/{ELSEWHERE}", json=music)).raise_for_status()
        called = await self.relay.post(f"{lab}/calls", {"sender": CALLER, "to": ELSEWHERE})
        sid: str = called["sid"]
        self.callers.append(sid)
        return sid

    async def begin_call(self) -> tuple[str, int]:
        """Somebody calls: the leg's SID, and the live call's id."""
        sid = await self.new_caller()
        answered = await self.knock("/voice/incoming", self.incoming(sid))
        assert answered.status == 200, answered.response.text
        row = await self.row("SELECT id FROM live_call WHERE call_sid = %s", sid)
        return sid, int(row[0])

    async def begin_talk(self) -> tuple[str, int]:
        """The same, with the agent on the line."""
        sid, live_call_id = await self.begin_call()
        assert (await self.room_event(sid, live_call_id)).status == 204
        await self.until_phase(live_call_id, "with_agent")
        return sid, live_call_id

    async def end_calls(self) -> None:
        """The callers hang up, and the daemon is told."""
        for sid in self.callers:
            await self._http.post(f"{self.relay.twilio_lab}/calls/{sid}/hangup")
            await self.knock("/voice/status", self.form(CallSid=sid, CallStatus="completed"))
        self.callers.clear()

    def incoming(self, call_sid: str, **changes: str | None) -> dict[str, str]:
        fields: dict[str, str | None] = {
            "CallSid": call_sid,
            "CallStatus": "ringing",
            "Direction": "inbound",
            "From": CALLER,
            "To": self.relay.account.voice_number,
        }
        return self.form(**(fields | changes))

    async def room_event(self, call_sid: str, live_call_id: int | None, **changes: str | None) -> Answered:
        """By default that the caller has come in."""
        fields: dict[str, str | None] = {
            "ConferenceSid": "CF" + call_sid[2:],
            "FriendlyName": f"conf_{call_sid}",
            "StatusCallbackEvent": "participant-join",
            "CallSid": call_sid,
            "ParticipantLabel": "caller",
            "SequenceNumber": "1",
        }
        query = f"?c={live_call_id}" if live_call_id is not None else ""
        return await self.knock(f"/voice/conference{query}", self.form(**(fields | changes)))

    async def answer_at(self, number: str, **script: Any) -> None:
        response = await self._http.put(f"{self.relay.twilio_lab}/lines/{number}", json={"calls": [script]})
        response.raise_for_status()

    async def fault(self, name: str, **details: Any) -> None:
        """Once, at the simulated Twilio."""
        body = {"times": 1, "details": details}
        (await self._http.put(f"{self.relay.twilio_lab}/faults/{name}", json=body)).raise_for_status()

    @asynccontextmanager
    async def speechless(self) -> AsyncIterator[None]:
        """ElevenLabs makes no sound meanwhile; what was made before is there."""
        url = f"{self.relay.elevenlabs_lab}/faults/rest_500"
        body = {"times": 100, "details": {"path": "text-to-speech"}}
        (await self._http.put(url, json=body)).raise_for_status()
        yield
        (await self._http.delete(url)).raise_for_status()

    async def legs_to(self, number: str) -> list[Mapping[str, Any]]:
        """Legs at the simulated Twilio that were dialled to a number or an address, oldest first."""
        found = await self.relay.get(f"{self.relay.twilio_lab}/calls")
        return [call for call in found["calls"] if number in call["to"]]

    # --- what is stored ---

    async def row(self, statement: LiteralString, *params: Any) -> tuple[Any, ...]:
        row = await self.observer.fetch_one(statement, params)
        assert row is not None
        return tuple(row)

    async def until_phase(self, live_call_id: int, phase: str) -> None:
        with trio.fail_after(LIMIT_S):
            await until_row(
                self.observer, "SELECT 1 FROM live_call WHERE id = %s AND phase = %s", live_call_id, phase
            )

    async def stored(self, live_call_id: int = 0) -> tuple[Any, ...]:
        """All that a request could leave behind: rows, and where one call stands. How far its legs are may be told by the
        simulated Twilio meanwhile.
        """
        return await self.row(
            "SELECT (SELECT count(*) FROM live_recording), (SELECT count(*) FROM message), "
            "(SELECT count(*) FROM live_call), (SELECT (state - 'legs')::text || jsonb_array_length(state -> 'legs') "
            "FROM live_call WHERE id = %s)",
            live_call_id,
        )


# --- media streams ----------------------------------------------------------------------------------------


@define(eq=False)
class MediaStream:
    """Twilio's end of a stream; trio_websocket's client does not let go of a socket that the server closes.

    Attributes:
        refused_with: the status of an upgrade that was refused.
    """

    _stream: trio.SocketStream
    _protocol: WSConnection = field(factory=lambda: WSConnection(ConnectionType.CLIENT))
    _events: deque[Event] = field(factory=deque, init=False)
    refused_with: int | None = field(default=None, init=False)

    async def open(self, path: str) -> None:
        """Comes back once the upgrade is answered."""
        await self._send(Request(host="127.0.0.1", target=path))
        event = await self._next()
        if isinstance(event, RejectConnection):
            self.refused_with = event.status_code

    async def say(self, *frames: str | bytes) -> None:
        for frame in (json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}), *frames):
            await self._send(TextMessage(frame) if isinstance(frame, str) else BytesMessage(frame))

    async def until_over(self) -> int:
        """The code it is closed with."""
        while True:
            event = await self._next()
            if isinstance(event, CloseConnection):
                return int(event.code)

    async def until_heard(self) -> str:
        """What the daemon sends first."""
        while True:
            event = await self._next()
            if isinstance(event, TextMessage):
                return event.data

    async def _next(self) -> Event:
        while not self._events:
            octets = await self._stream.receive_some()
            assert octets, "the connection ended without a close frame"
            self._protocol.receive_data(octets)
            self._events.extend(self._protocol.events())
        return self._events.popleft()

    async def _send(self, event: Event) -> None:
        await self._stream.send_all(self._protocol.send(event))


@asynccontextmanager
async def media_stream(relay: Relay, *, path: str = "/voice/stream") -> AsyncIterator[MediaStream]:
    async with await trio.open_tcp_stream("127.0.0.1", relay.public_port) as octets:
        stream = MediaStream(octets)
        await stream.open(path)
        yield stream


def start(call_sid: str, **parameters: str) -> str:
    """The frame that says of a stream what it is (Twilio docs: voice/media-streams/websocket-messages)."""
    return json.dumps(
        {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": "MZ" + "0" * 32,
            "start": {
                "streamSid": "MZ" + "0" * 32,
                "accountSid": "AC" + "0" * 32,
                "callSid": call_sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": parameters,
            },
        }
    )


# --- processes --------------------------------------------------------------------------------------------


@contextmanager
def running(database_url: str, folder: Path, **options: Any) -> Iterator[Relay]:
    """A daemon on a database of its own, as a process; with a lab of its own, unless `lab` is a relay that has one."""
    lab: Relay | None = options.pop("lab", None)
    relay = trio.run(_begin, database_url, folder, lab, options)
    try:
        yield relay
    finally:
        relay.stop()
        trio.run(_alone, database_url, sql.SQL("DROP DATABASE {} WITH (FORCE)"), relay.database_url)


@asynccontextmanager
async def knocking(relay: Relay) -> AsyncIterator[VoiceDoor]:
    """A door for one test, which ends the calls that it began."""
    with trio.fail_after(2 * LIMIT_S):
        async with httpx.AsyncClient(timeout=LIMIT_S) as http:
            relay.http = http
            observer = await Connection.connect(
                relay.database_url, timeout_s=LIMIT_S, statement_timeout_s=LIMIT_S
            )
            door = VoiceDoor(relay, observer, http)
            try:
                yield door
                await door.end_calls()
            finally:
                observer.close_now()


async def _begin(database_url: str, folder: Path, lab: Relay | None, options: dict[str, Any]) -> Relay:
    own = urlunsplit(urlsplit(database_url)._replace(path=f"/voice_{secrets.token_hex(6)}"))
    await _alone(database_url, sql.SQL("CREATE DATABASE {}"), own)
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        relay = Relay(
            database_url=own, folder=folder, http=http, webhooks=False, **{"settings": SETTINGS, **options}
        )
        try:
            if lab is None:
                await relay.start_lab()
            else:
                relay.elevenlabs_port, relay.twilio_port = lab.elevenlabs_port, lab.twilio_port
            await relay.start_daemon()
        except BaseException:
            relay.stop()
            raise
        return relay


async def _alone(server_url: str, statement: sql.SQL, database_url: str) -> None:
    connection = await Connection.connect(server_url, timeout_s=LIMIT_S, statement_timeout_s=LIMIT_S)
    try:
        await connection.execute(statement.format(sql.Identifier(urlsplit(database_url).path[1:])))
    finally:
        connection.close_now()


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))
