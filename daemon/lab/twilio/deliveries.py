"""A webhook as an object: what Twilio owes to whom, and how each attempt went."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import trio
from attrs import define, evolve, field, frozen

from daemon.lab.twilio.sids import new_sid

ANSWER_MAX_BYTES: Final = 64 * 1024


@frozen(kw_only=True)
class Answer:
    """What a webhook's URL answered."""

    status: int
    content_type: str
    body: bytes


@frozen(kw_only=True)
class Attempt:
    """One request of a webhook.

    Attributes:
        status: the HTTP status, None when no answer began.
        answer: the beginning of the answer's body, None when it did not come whole.
        failure: why it counts as failed: `connect`, `tls`, `timeout`, `broken`, `4xx`, `5xx`; None if it does not.
        error: the library's sentence, for reading.
    """

    at: datetime
    url: str
    took_s: float
    status: int | None = None
    answer: str | None = None
    failure: str | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "url": self.url,
            "took_s": round(self.took_s, 4),
            "status": self.status,
            "answer": self.answer,
            "failure": self.failure,
            "error": self.error,
        }


@define(eq=False, kw_only=True)
class Delivery:
    """One webhook.

    Attributes:
        kind: `incoming`, `status` or `fallback`; the voice side has its own.
        url: as configured, fragment and all.
        lane: deliveries of one lane are requested one after the other, in order; None waits for nobody.
        fallback_url: asked instead when all attempts have failed.
        forged: the signature is made with a wrong token.
        on_answer: receives a 2xx answer; it changes state and does not wait.
        answer_max_bytes: what of the answer is read; sound is longer than a document.
        note: what became of it, when that is not in the attempts.
        done: set when nothing more will be tried.
    """

    kind: str
    url: str
    params: list[tuple[str, str]]
    method: str = "POST"
    lane: str | None = None
    message_sid: str | None = None
    fallback_url: str | None = None
    forged: bool = False
    on_answer: Callable[[Answer], None] | None = None
    answer_max_bytes: int = ANSWER_MAX_BYTES
    idempotency_token: str = field(factory=lambda: new_sid(""))
    attempts: list[Attempt] = field(factory=list)
    note: str | None = None
    done: trio.Event = field(factory=trio.Event)

    @property
    def answered(self) -> int | None:
        """The HTTP status of the last attempt."""
        return self.attempts[-1].status if self.attempts else None

    def again(self) -> "Delivery":
        """The same webhook once more, as an operator's replay sends it: another idempotency token."""
        return evolve(
            self,
            idempotency_token=new_sid(""),
            attempts=[],
            done=trio.Event(),
            note="duplicate",
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "url": self.url,
            "method": self.method,
            "params": dict(self.params),
            "message_sid": self.message_sid,
            "forged": self.forged,
            "note": self.note,
            "done": self.done.is_set(),
            "attempts": [attempt.as_json() for attempt in self.attempts],
        }
