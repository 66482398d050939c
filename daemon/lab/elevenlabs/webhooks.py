"""Post-call webhooks: signing, delivery, and everything that may go wrong with them.

Source: ElevenLabs docs "Post-call webhooks" and the Python SDK's `webhooks_custom.py`.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import httpx
import trio
from attrs import Factory, define, field, frozen

from daemon.lab.elevenlabs.agenda import Agenda
from daemon.lab.elevenlabs.books import Books, SentWebhook
from daemon.lab.faults import Faults

_QUEUE_LIMIT: Final = 20_000
_WORKERS: Final = 8
_TIMEOUT_S: Final = 15.0
_RETRIED_KIND: Final = "post_call_transcription"
_EVENT_OF_KIND: Final = {
    "post_call_transcription": "transcript",
    "call_initiation_failure": "call_initiation_failure",
}


def signature(secret: str, timestamp: int, raw: bytes) -> str:
    """The value of the `ElevenLabs-Signature` header."""
    digest = hmac.new(secret.encode(), b"%d." % timestamp + raw, hashlib.sha256).hexdigest()
    return f"t={timestamp},v0={digest}"


@frozen(kw_only=True)
class WebhookTarget:
    """Where webhooks go. `events` None: all kinds that the simulator sends."""

    url: str
    secret: str
    retry: bool = False
    events: frozenset[str] | None = None

    def wants(self, kind: str) -> bool:
        return self.events is None or _EVENT_OF_KIND[kind] in self.events


@frozen(kw_only=True)
class _Letter:
    target: WebhookTarget
    kind: str
    conversation_id: str
    body: bytes
    attempt: int = 1


@define(eq=False, kw_only=True)
class Webhooks:
    """Sends webhooks from `run`'s tasks. At most 20,000 wait; more are lost, and the books say so.

    Attributes:
        retry_delays_s: before the second to the fifth attempt, where the target retries.
    """

    faults: Faults
    agenda: Agenda
    books: Books
    now: Callable[[], float]
    retry_delays_s: tuple[float, ...] = (30.0, 120.0, 480.0, 1800.0)
    _held: list[_Letter] = field(factory=list, init=False)
    _outbox: trio.MemorySendChannel[_Letter] = field(init=False)
    _inbox: trio.MemoryReceiveChannel[_Letter] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._outbox, self._inbox = trio.open_memory_channel[_Letter](_QUEUE_LIMIT)

    def post(
        self, target: WebhookTarget, kind: str, conversation_id: str, content: Mapping[str, Any]
    ) -> None:
        """Have one webhook sent, subject to the faults. Never blocks."""
        if not target.wants(kind):
            return
        event = {"type": kind, "event_timestamp": int(self.now()), "data": content}
        body = json.dumps(event, ensure_ascii=False).encode()
        letter = _Letter(target=target, kind=kind, conversation_id=conversation_id, body=body)
        if self.faults.strikes("webhook_lost"):
            self._lose(letter)
        elif late := self.faults.strikes("webhook_late"):
            self.agenda.after(float(late.details.get("seconds", 5)), partial(self._send, letter))
        elif held := self.faults.strikes("webhook_reordered"):
            self._held.append(letter)
            self.agenda.after(float(held.details.get("seconds", 5)), self._release_held)
        else:
            self._send(letter)

    def _send(self, letter: _Letter) -> None:
        copies = 2 if self.faults.strikes("webhook_duplicated") else 1
        for _ in range(copies):
            try:
                self._outbox.send_nowait(letter)
            except trio.WouldBlock:
                self._lose(letter)

    def _lose(self, letter: _Letter) -> None:
        self.books.lost_webhooks.append((letter.kind, letter.conversation_id))
        self.books.change()

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for letter in held:
            self._send(letter)

    async def run(self) -> None:
        """Deliver what was posted. Runs until cancelled; what waits then is lost."""
        limits = httpx.Limits(max_connections=_WORKERS, max_keepalive_connections=_WORKERS)
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT_S, limits=limits, trust_env=False) as client,
            trio.open_nursery() as nursery,
        ):
            for number in range(_WORKERS):
                nursery.start_soon(self._deliver_all, client, name=f"lab webhooks {number}")

    async def _deliver_all(self, client: httpx.AsyncClient) -> None:
        while True:
            await self._deliver(client, await self._inbox.receive())

    async def _deliver(self, client: httpx.AsyncClient, letter: _Letter) -> None:
        secret = "forged" if self.faults.strikes("webhook_forged") else letter.target.secret
        header = signature(secret, int(self.now()), letter.body)
        headers = {"Content-Type": "application/json", "ElevenLabs-Signature": header}
        try:
            answer = await client.post(letter.target.url, content=letter.body, headers=headers)
        except httpx.HTTPError:
            status = None
        else:
            status = answer.status_code
        self.books.webhooks.append(
            SentWebhook(
                kind=letter.kind,
                conversation_id=letter.conversation_id,
                status=status,
                attempt=letter.attempt,
                body=letter.body,
                signature=header,
            )
        )
        self.books.change()
        self._maybe_retry(letter, status)
        self._release_held()

    def _maybe_retry(self, letter: _Letter, status: int | None) -> None:
        is_worth_it = status is not None and (status >= 500 or status in {408, 429})
        if not (letter.target.retry and is_worth_it and letter.kind == _RETRIED_KIND):
            return
        if letter.attempt <= len(self.retry_delays_s):
            again = _Letter(
                target=letter.target,
                kind=letter.kind,
                conversation_id=letter.conversation_id,
                body=letter.body,
                attempt=letter.attempt + 1,
            )
            self.agenda.after(self.retry_delays_s[letter.attempt - 1], partial(self._send, again))

    def clear(self) -> None:
        """Forget what was not sent yet, except for what a worker holds already."""
        self._held.clear()
        while True:
            try:
                self._inbox.receive_nowait()
            except trio.WouldBlock:
                return


@define(eq=False)
class WebhookBook:
    """Workspace webhooks, the settings that choose one, and the target given from outside.

    The target from outside wins. Otherwise an agent's own choice (`workspace_overrides.webhooks`) goes
    before the workspace's (`PATCH /v1/convai/settings`).
    """

    direct: WebhookTarget | None = None
    created: dict[str, tuple[Mapping[str, Any], WebhookTarget]] = Factory(dict)
    settings: dict[str, Any] = Factory(
        lambda: {"post_call_webhook_id": None, "events": ["transcript"], "transcript_format": "json"}
    )

    def target_for(self, agent_choice: Mapping[str, Any]) -> WebhookTarget | None:
        if self.direct is not None:
            return self.direct
        for choice in (agent_choice, self.settings):
            webhook_id = choice.get("post_call_webhook_id")
            if webhook_id in self.created:
                _, target = self.created[webhook_id]
                return WebhookTarget(
                    url=target.url,
                    secret=target.secret,
                    retry=target.retry,
                    events=frozenset(choice.get("events") or ["transcript"]),
                )
        return None
