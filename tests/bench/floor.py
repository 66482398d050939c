"""The floor: the same requests, statements and frames with the same libraries, and nothing of what Relevo is for.

No supervisor, no mailbox, no coalescing, no outbox, no retry, no log, no metrics; a crash loses what is under way.
Whatever costs less than this has left some I/O out.

It is started like the daemon, by its environment: PORT, BASE_PUBLIC_URL, DATABASE_URL, ELEVENLABS_BASE_URL,
TWILIO_BASE_URL and the account's secrets.
"""

import base64
import hmac
import json
import os
from typing import Any, LiteralString
from urllib.parse import parse_qsl

import httpx
import trio
from psycopg.abc import Params
from quart import Response, request
from quart_trio import QuartTrio
from trio_websocket import WebSocketConnection, connect_websocket_url

from daemon.httpserver import HttpServer, ServerLimits
from daemon.store.connection import Connection
from daemon.twilio.transport import open_transport, sdk_client

POOL_SIZE = 8
PUBLIC_URL = os.environ["BASE_PUBLIC_URL"]
SECRETS = {"account_sid": os.environ["TWILIO_ACCOUNT_SID"], "auth_token": os.environ["TWILIO_AUTH_TOKEN"]}
SENDER = os.environ["TWILIO_WHATSAPP_FROM"]
INITIATION = {
    "type": "conversation_initiation_client_data",
    "conversation_config_override": {
        "agent": {"first_message": ""},
        "conversation": {"text_only": True},
    },
}

TABLE = """
CREATE TABLE floor (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person text, body text, sid text UNIQUE, status text)
"""
STORE = "INSERT INTO floor (person, body, sid, status) VALUES (%s, %s, %s, 'received') RETURNING id"
PENDING = "SELECT id, body FROM floor WHERE id = %s"
ANSWER = "INSERT INTO floor (person, body, status) VALUES (%s, %s, 'pending') RETURNING id"
CLAIM = "UPDATE floor SET status = 'sending' WHERE id = %s"
ACCEPTED = "UPDATE floor SET status = 'accepted', sid = %s WHERE id = %s"
REPORTED = "UPDATE floor SET status = %s WHERE sid = %s"


class Floor:
    def __init__(self, nursery: trio.Nursery, http: httpx.AsyncClient) -> None:
        self.nursery = nursery
        self.http = http
        self.idle_in, self.idle_out = trio.open_memory_channel[Connection](POOL_SIZE)
        self.sockets: dict[str, tuple[WebSocketConnection, trio.MemoryReceiveChannel[str]]] = {}

    async def run(self) -> None:
        for _ in range(POOL_SIZE):
            self.idle_in.send_nowait(await Connection.connect(os.environ["DATABASE_URL"], timeout_s=5))
        await self.sql(TABLE)
        async with open_transport() as transport:
            self.twilio = sdk_client(transport, **SECRETS, base_url=os.environ["TWILIO_BASE_URL"])
            app = QuartTrio("floor", static_folder=None)
            app.add_url_rule("/api/webhook/twilio/incoming", view_func=self.incoming, methods=["POST"])
            app.add_url_rule("/api/webhook/twilio/status", view_func=self.status, methods=["POST"])
            port = int(os.environ["PORT"])
            await HttpServer(app, name="floor", host="127.0.0.1", port=port, limits=ServerLimits()).run()

    async def sql(self, statement: LiteralString, params: Params | None = None) -> list[tuple[Any, ...]]:
        connection = await self.idle_out.receive()
        try:
            cursor = await connection._execute_kept(statement, params)
            return await cursor.fetchall() if cursor.description else []
        finally:
            self.idle_in.send_nowait(connection)

    async def incoming(self) -> Response:
        form = await signed_form()
        [row] = await self.sql(STORE, (form["From"], form["Body"], form["MessageSid"]))
        self.nursery.start_soon(self.turn, form["From"], form["MessageSid"], row[0])
        return Response(b"<Response/>", content_type="text/xml")

    async def status(self) -> Response:
        form = await signed_form()
        await self.sql(REPORTED, (form["MessageStatus"], form["MessageSid"]))
        return Response(b"", status=204)

    async def turn(self, person: str, sid: str, inbound_id: int) -> None:
        self.nursery.start_soon(self.show_typing, sid)
        [(_, body)] = await self.sql(PENDING, (inbound_id,))
        socket, answers = self.sockets.get(person) or await self.open_socket(person)
        await socket.send_message(json.dumps({"type": "user_message", "text": body}))
        answer = await answers.receive()
        [(outbound_id,)] = await self.sql(ANSWER, (person, answer))
        await self.sql(CLAIM, (outbound_id,))
        callback = f"{PUBLIC_URL}/api/webhook/twilio/status?m={outbound_id}"
        created = await self.twilio.messages.create_async(
            to=person, from_=f"whatsapp:{SENDER}", status_callback=callback, body=answer
        )
        await self.sql(ACCEPTED, (created.sid, outbound_id))

    async def show_typing(self, sid: str) -> None:
        await self.twilio.messaging.v2.typing_indicator.create_async(channel="whatsapp", message_id=sid)

    async def open_socket(self, person: str) -> tuple[WebSocketConnection, trio.MemoryReceiveChannel[str]]:
        base = os.environ["ELEVENLABS_BASE_URL"]
        signed = await self.http.get(f"{base}/v1/convai/conversation/get-signed-url?agent_id=a")
        socket = await connect_websocket_url(self.nursery, signed.json()["signed_url"])
        await socket.send_message(json.dumps(INITIATION))
        said, answers = trio.open_memory_channel[str](10)
        self.nursery.start_soon(self.listen, socket, said)
        self.sockets[person] = socket, answers
        return socket, answers

    async def listen(self, socket: WebSocketConnection, said: trio.MemorySendChannel[str]) -> None:
        answer = ""
        while True:
            frame = json.loads(await socket.get_message())
            match frame["type"]:
                case "ping":
                    pong = {"type": "pong", "event_id": frame["ping_event"]["event_id"]}
                    await socket.send_message(json.dumps(pong))
                case "agent_response":
                    answer = frame["agent_response_event"]["agent_response"]
                case "agent_response_complete":
                    said.send_nowait(answer)
                case _:
                    pass


async def signed_form() -> dict[str, str]:
    pairs = parse_qsl(str(await request.get_data(as_text=True)), keep_blank_values=True)
    signed = (
        PUBLIC_URL + request.full_path.rstrip("?") + "".join(name + value for name, value in sorted(pairs))
    )
    digest = hmac.digest(SECRETS["auth_token"].encode(), signed.encode(), "sha1")
    given = request.headers["X-Twilio-Signature"]
    assert hmac.compare_digest(base64.b64encode(digest).decode(), given)
    return dict(pairs)


async def main() -> None:
    async with httpx.AsyncClient() as http, trio.open_nursery() as nursery:
        await Floor(nursery, http).run()


if __name__ == "__main__":
    trio.run(main)
