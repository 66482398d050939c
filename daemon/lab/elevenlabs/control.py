"""The lab's own routes under `/lab`: JSON without authentication, answered to loopback only.

They put calls and faults into the simulated world and let its books be read. Errors are
`{"error": sentence}` with 400 or 404.
"""

from collections.abc import Callable
from typing import Any, Final

import trio
from attrs import define, evolve
from quart import Response, request
from quart_trio import QuartTrio

from daemon.lab.elevenlabs.agent_socket import AgentSocket
from daemon.lab.elevenlabs.batches import Batches
from daemon.lab.elevenlabs.calls import CallOrder
from daemon.lab.elevenlabs.conversations import Conversation, as_detail
from daemon.lab.elevenlabs.loose import as_mapping
from daemon.lab.elevenlabs.rest import read_json, reply
from daemon.lab.elevenlabs.rest_batches import check_submission
from daemon.lab.elevenlabs.script import read_script
from daemon.lab.elevenlabs.session import Ending
from daemon.lab.elevenlabs.webhooks import WebhookTarget
from daemon.lab.elevenlabs.world import World
from daemon.lab.faults import BadFaultError, UnknownFaultError, read_fault

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "<local>"})


def _problem(status: int, sentence: str) -> Response:
    return reply({"error": sentence}, status)


def _brief(conversation: Conversation) -> dict[str, Any]:
    return {
        "conversation_id": conversation.id,
        "agent_id": conversation.agent_id,
        "status": conversation.status.value,
        "text_only": conversation.text_only,
        "phone_number": None if conversation.phone is None else conversation.phone.external_number,
        "frames": len(conversation.frames),
        "termination_reason": conversation.termination_reason,
    }


@define(eq=False, kw_only=True)
class ControlRoutes:
    world: World
    batches: Batches
    socket: AgentSocket
    reset: Callable[[], None]

    def add_to(self, app: QuartTrio) -> None:
        rules: tuple[tuple[str, str, Callable[..., Any]], ...] = (
            ("GET", "", self.health),
            ("POST", "/reset", self.reset_all),
            ("POST", "/agents", self.add_agent),
            ("POST", "/batches", self.submit),
            ("POST", "/batches/<batch_id>/finish", self.finish_batch),
            ("POST", "/calls", self.place_call),
            ("POST", "/calls/<conversation_id>/finish", self.finish_call),
            ("GET", "/books", self.show_books),
            ("GET", "/conversations", self.list_all),
            ("GET", "/conversations/<conversation_id>", self.show),
            ("POST", "/conversations/<conversation_id>/hear", self.hear),
            ("POST", "/conversations/<conversation_id>/close", self.close),
            ("POST", "/conversations/<conversation_id>/drop", self.drop),
            ("GET", "/faults", self.list_faults),
            ("PUT", "/faults/<name>", self.switch_on),
            ("DELETE", "/faults/<name>", self.switch_off),
            ("DELETE", "/faults", self.clear_faults),
            ("PUT", "/timing", self.set_timing),
            ("PUT", "/webhook", self.set_webhook),
            ("DELETE", "/webhook", self.unset_webhook),
        )
        for method, path, view in rules:
            app.add_url_rule(f"/lab{path}", f"lab_{view.__name__}", view_func=view, methods=[method])
        app.before_request(self._only_loopback)

    async def _only_loopback(self) -> Response | None:
        if request.path.startswith("/lab") and request.remote_addr not in _LOOPBACK:
            return _problem(403, "the lab's own routes answer loopback only")
        return None

    async def health(self) -> Response:
        """`GET /lab`: `{"lab": "elevenlabs", "ok": true, …}` with a few counts."""
        books = self.world.books
        return reply(
            {
                "lab": "elevenlabs",
                "ok": True,
                "agents": list(self.world.agents),
                "sockets_open": books.sockets_open,
                "sockets_opened": books.sockets_opened,
                "conversations": len(self.world.conversations),
                "held_calls": self.batches.calls.held,
            }
        )

    async def reset_all(self) -> Response:
        """`POST /lab/reset`: forget conversations, batches, books and faults. Agents, tools, webhook settings
        and open sockets stay.
        """
        self.reset()
        return reply({"ok": True})

    async def add_agent(self) -> Response:
        """`POST /lab/agents`: the official create body, plus an `agent_id` of one's choice."""
        body = await read_json()
        agent_id = body.pop("agent_id", None)
        return reply({"agent_id": self.world.add_agent(body, agent_id=agent_id).id})

    async def submit(self) -> Response:
        """`POST /lab/batches`: the official submit body; a recipient may carry `script`, one or a list (one
        per attempt), with the names of `CallScript`. Answers the batch with its recipients.
        """
        body = await read_json()
        check_submission(body)
        try:
            return reply(self.batches.submit(body).as_detail())
        except (TypeError, ValueError) as error:
            return _problem(400, f"script: {error}")

    async def finish_batch(self, batch_id: str) -> Response:
        """`POST /lab/batches/{id}/finish`: hang up calls whose script holds them; `{"recipients": [ids]}`
        picks some. Answers `{"finished": count}`.
        """
        chosen = as_mapping(await request.get_json(force=True, silent=True)).get("recipients")
        return reply({"finished": self.batches.finish(self.batches.batch(batch_id), chosen)})

    async def place_call(self) -> Response:
        """`POST /lab/calls`: one call without a batch: `{"agent_id", "phone_number", "direction"?,
        "conversation_initiation_client_data"?, "script"?}`. Answers `{"conversation_id"}`.
        """
        body = await read_json()
        client_data = as_mapping(body.get("conversation_initiation_client_data"))
        try:
            script = (
                read_script(body["script"])
                if "script" in body
                else self.batches.write_script(as_mapping(client_data.get("dynamic_variables")))
            )
            order = CallOrder(
                agent_id=body["agent_id"],
                number=body["phone_number"],
                direction=body.get("direction", "outbound"),
                client_data=client_data,
            )
            conversation = self.batches.calls.dial(order, script)
        except (KeyError, TypeError, ValueError) as error:
            return _problem(400, f"call: {error!r}")
        return reply({"conversation_id": conversation.id})

    async def finish_call(self, conversation_id: str) -> Response:
        """`POST /lab/calls/{conversation id}/finish`: hang up a call whose script holds it."""
        if not self.batches.calls.finish(conversation_id):
            return _problem(404, "no such call is held")
        return reply({"ok": True})

    async def show_books(self) -> Response:
        """`GET /lab/books`: REST calls by route, webhook attempts, socket counts."""
        books = self.world.books
        return reply(
            {
                "requests": dict(books.requests),
                "webhooks": [sent.as_json() for sent in books.webhooks],
                "lost_webhooks": [list(lost) for lost in books.lost_webhooks],
                "sockets_open": books.sockets_open,
                "sockets_opened": books.sockets_opened,
            }
        )

    async def list_all(self) -> Response:
        """`GET /lab/conversations`: every conversation in short, oldest first."""
        return reply([_brief(it) for it in self.world.conversations.values()])

    async def show(self, conversation_id: str) -> Response:
        """`GET /lab/conversations/{id}`: the REST detail under `detail`, and `frames` as
        `{"direction", "at_s", "frame"}`.
        """
        conversation = self.world.conversation(conversation_id)
        frames = [
            {"direction": frame.direction, "at_s": frame.at_s, "frame": frame.text}
            for frame in conversation.frames
        ]
        return reply({"detail": as_detail(conversation), "frames": frames})

    async def hear(self, conversation_id: str) -> Response:
        """`POST /lab/conversations/{id}/hear`: the caller says `{"text"}` on an open voice session; it is
        transcribed and answered, and interrupts the agent.
        """
        text = (await read_json()).get("text")
        open_socket = self.socket.sessions.get(conversation_id)
        if open_socket is None:
            return _problem(404, "that conversation has no open socket")
        if not isinstance(text, str):
            return _problem(400, "text: a string is needed")
        try:
            open_socket[1].hear_speech(text)
        except trio.WouldBlock:
            return _problem(400, "too many turns wait in that session")
        return reply({"ok": True})

    async def close(self, conversation_id: str) -> Response:
        """`POST /lab/conversations/{id}/close`: the server closes an open socket with `{"code", "reason"?,
        "error_type"?}`.
        """
        body = await read_json()
        code = body.get("code", 1000)
        ending = Ending(int(code), str(body.get("reason", "")), body.get("error_type"))
        return self._end(conversation_id, ending)

    async def drop(self, conversation_id: str) -> Response:
        """`POST /lab/conversations/{id}/drop`: break an open socket's connection, without a close frame."""
        return self._end(conversation_id, Ending(None))

    def _end(self, conversation_id: str, ending: Ending) -> Response:
        open_socket = self.socket.sessions.get(conversation_id)
        if open_socket is None:
            return _problem(404, "that conversation has no open socket")
        open_socket[0].end(ending)
        return reply({"ok": True})

    async def list_faults(self) -> Response:
        """`GET /lab/faults`: `known` names with their sentences, and what is `on`."""
        on = {
            fault.name: {
                "probability": fault.probability,
                "times": fault.times,
                "details": dict(fault.details),
            }
            for fault in self.world.faults.active
        }
        return reply({"known": dict(self.world.faults.known), "on": on})

    async def switch_on(self, name: str) -> Response:
        """`PUT /lab/faults/{name}`: `{"probability"?, "times"?, "details"?}`."""
        body = as_mapping(await request.get_json(force=True, silent=True))
        try:
            self.world.faults.switch_on(read_fault(name, body))
        except UnknownFaultError as error:
            return _problem(404, str(error))
        except BadFaultError as error:
            return _problem(400, str(error))
        return reply({"ok": True})

    async def switch_off(self, name: str) -> Response:
        """`DELETE /lab/faults/{name}`."""
        self.world.faults.switch_off(name)
        return reply({"ok": True})

    async def clear_faults(self) -> Response:
        """`DELETE /lab/faults`: all of them."""
        self.world.faults.clear()
        return reply({"ok": True})

    async def set_timing(self) -> Response:
        """`PUT /lab/timing`: change clocks of the sessions that start from now on, with the names of
        `SocketTiming`.
        """
        try:
            self.socket.timing = evolve(self.socket.timing, **await read_json())
        except TypeError as error:
            return _problem(400, f"timing: {error}")
        return reply({"ok": True})

    async def set_webhook(self) -> Response:
        """`PUT /lab/webhook`: `{"url", "secret", "retry"?}`; wins over the workspace's own webhooks."""
        body = await read_json()
        if not isinstance(body.get("url"), str) or not isinstance(body.get("secret"), str):
            return _problem(400, "url and secret: strings are needed")
        target = WebhookTarget(url=body["url"], secret=body["secret"])
        self.world.webhook_book.direct = evolve(target, retry=bool(body.get("retry", False)))
        return reply({"ok": True})

    async def unset_webhook(self) -> Response:
        """`DELETE /lab/webhook`."""
        self.world.webhook_book.direct = None
        return reply({"ok": True})
