"""Batch calling: who is dialled when, and how a batch shows in the REST API."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from attrs import Factory, define, field

from daemon.lab.elevenlabs.calls import CallOrder, Calls, Progress
from daemon.lab.elevenlabs.errors import not_found
from daemon.lab.elevenlabs.loose import as_mapping
from daemon.lab.elevenlabs.script import CallScript, Outcome, read_script
from daemon.lab.elevenlabs.world import World

FINAL_STATUSES: Final = frozenset({"completed", "failed", "cancelled", "voicemail"})
_RETRIED_STATUSES: Final = frozenset({"failed", "voicemail"})


@define(eq=False, kw_only=True)
class Recipient:
    """One line of a batch. `scripts` are its calls: the first, and those of retries; the last repeats."""

    id: str
    phone_number: str | None
    whatsapp_user_id: str | None
    client_data: Mapping[str, Any]
    created_unix: int
    updated_unix: int
    scripts: Sequence[CallScript]
    attempts: int = 0
    status: str = "pending"
    conversation_id: str | None = None

    def next_script(self) -> CallScript:
        script = self.scripts[min(self.attempts, len(self.scripts) - 1)]
        self.attempts += 1
        return script

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "phone_number": self.phone_number,
            "whatsapp_user_id": self.whatsapp_user_id,
            "status": self.status,
            "created_at_unix": self.created_unix,
            "updated_at_unix": self.updated_unix,
            "conversation_id": self.conversation_id,
            "conversation_initiation_client_data": dict(self.client_data) or None,
        }


@define(eq=False, kw_only=True)
class Batch:
    id: str
    name: str
    agent_id: str
    agent_name: str
    body: Mapping[str, Any]
    created_unix: int
    scheduled_unix: int
    updated_unix: int
    recipients: Sequence[Recipient]
    status: str = "pending"
    retry_count: int = 0
    dispatched: int = 0
    active: int = 0
    waiting: deque[Recipient] = Factory(deque)

    @property
    def finished(self) -> int:
        return sum(recipient.status in FINAL_STATUSES for recipient in self.recipients)

    @property
    def concurrency(self) -> int:
        return self.body.get("target_concurrency_limit") or len(self.recipients)

    def as_json(self) -> dict[str, Any]:
        body = self.body
        telephony = body.get("telephony_call_config") or {}
        return {
            "id": self.id,
            "phone_number_id": body.get("agent_phone_number_id"),
            "phone_provider": "twilio" if body.get("agent_phone_number_id") else None,
            "whatsapp_params": body.get("whatsapp_params"),
            "name": self.name,
            "agent_id": self.agent_id,
            "agent_name": self.agent_name,
            "branch_id": body.get("branch_id"),
            "branch_name": None,
            "environment": body.get("environment"),
            "created_at_unix": self.created_unix,
            "scheduled_time_unix": self.scheduled_unix,
            "timezone": body.get("timezone"),
            "total_calls_dispatched": self.dispatched,
            "total_calls_scheduled": len(self.recipients),
            "total_calls_finished": self.finished,
            "last_updated_at_unix": self.updated_unix,
            "status": self.status,
            "retry_count": self.retry_count,
            "telephony_call_config": {
                "ringing_timeout_secs": 60,
                "twilio_call_recording_enabled": False,
                **telephony,
            },
            "target_concurrency_limit": body.get("target_concurrency_limit"),
        }

    def as_detail(self) -> dict[str, Any]:
        return {**self.as_json(), "recipients": [recipient.as_json() for recipient in self.recipients]}


@define(eq=False, kw_only=True)
class Batches:
    """All batches of the workspace, oldest first, and the dialling of their recipients."""

    world: World
    calls: Calls
    write_script: Callable[[Mapping[str, Any]], CallScript]
    all: dict[str, Batch] = field(factory=dict)

    def batch(self, batch_id: str) -> Batch:
        if batch_id not in self.all:
            raise not_found("batch_call", batch_id)
        return self.all[batch_id]

    def submit(self, body: Mapping[str, Any]) -> Batch:
        """Take a batch in the shape of the official submit, already checked.

        A recipient may carry `script`, one or a list of them (one per attempt), in the shape of
        `CallScript`; without it `write_script` is asked, with the recipient's dynamic variables.

        Raises:
            RefusalError: no such agent.
            TypeError, ValueError: a script does not parse.
        """
        agent = self.world.agent(body["agent_id"])
        now = int(self.world.now())
        scheduled = body.get("scheduled_time_unix")
        batch = Batch(
            id=self.world.ids.new("btcal_"),
            name=body["call_name"],
            agent_id=agent.id,
            agent_name=agent.name,
            body=body,
            created_unix=now,
            scheduled_unix=now if scheduled is None else scheduled,
            updated_unix=now,
            recipients=[self._recipient(entry, now) for entry in body["recipients"]],
        )
        self.all[batch.id] = batch
        batch.waiting.extend(batch.recipients)
        delay_s = max(0.0, batch.scheduled_unix - self.world.now())
        self.world.agenda.after(delay_s if scheduled is not None else 0.0, partial(self._dispatch, batch))
        return batch

    def _recipient(self, entry: Mapping[str, Any], now: int) -> Recipient:
        client_data = dict(as_mapping(entry.get("conversation_initiation_client_data")))
        client_data.pop("type", None)
        written = entry.get("script")
        if written is None:
            scripts = [self.write_script(as_mapping(client_data.get("dynamic_variables")))]
        else:
            scripts = [read_script(one) for one in (written if isinstance(written, list) else [written])]
        return Recipient(
            id=entry.get("id") or self.world.ids.new("rcpt_"),
            phone_number=entry.get("phone_number"),
            whatsapp_user_id=entry.get("whatsapp_user_id"),
            client_data=client_data,
            created_unix=now,
            updated_unix=now,
            scripts=scripts,
        )

    def _dispatch(self, batch: Batch) -> None:
        """Dial waiting recipients while the concurrency limit allows."""
        while batch.waiting and batch.active < batch.concurrency:
            recipient = batch.waiting.popleft()
            script = recipient.next_script()
            batch.status = "in_progress"
            if script.outcome is Outcome.CANCELLED:
                self._mark(batch, recipient, "cancelled")
            elif batch.agent_id not in self.world.agents:
                self._mark(batch, recipient, "failed")
            else:
                self._dial(batch, recipient, script)
        self._settle(batch)

    def _dial(self, batch: Batch, recipient: Recipient, script: CallScript) -> None:
        order = CallOrder(
            agent_id=batch.agent_id,
            number=recipient.phone_number or f"+{recipient.whatsapp_user_id}",
            phone_number_id=batch.body.get("agent_phone_number_id") or "phnum_lab",
            client_data=recipient.client_data,
            batch=(batch.id, recipient.id),
        )
        batch.active += 1
        batch.dispatched += 1
        conversation = self.calls.dial(order, script, partial(self._hear, batch, recipient))
        recipient.conversation_id = conversation.id
        self._mark(batch, recipient, "initiated")

    def _hear(self, batch: Batch, recipient: Recipient, progress: Progress) -> None:
        self._mark(batch, recipient, progress.status)
        if progress.is_final:
            batch.active -= 1
            self._dispatch(batch)

    def _mark(self, batch: Batch, recipient: Recipient, status: str) -> None:
        recipient.status = status
        recipient.updated_unix = batch.updated_unix = int(self.world.now())
        self.world.books.change()

    def _settle(self, batch: Batch) -> None:
        if batch.status == "in_progress" and not batch.waiting and batch.active == 0:
            batch.status = "completed"
            self.world.books.change()

    def cancel(self, batch: Batch) -> None:
        """Pending recipients are called off; calls under way go on."""
        waiting, batch.waiting = batch.waiting, deque()
        for recipient in waiting:
            self._mark(batch, recipient, "cancelled")
        batch.status = "cancelled"
        batch.updated_unix = int(self.world.now())

    def retry(self, batch: Batch) -> None:
        """Recipients that were not reached are called again, with new conversations."""
        again = [recipient for recipient in batch.recipients if recipient.status in _RETRIED_STATUSES]
        batch.retry_count += 1
        for recipient in again:
            self._mark(batch, recipient, "pending")
        batch.waiting.extend(again)
        batch.status = "in_progress"
        self.world.agenda.after(0.0, partial(self._dispatch, batch))

    def finish(self, batch: Batch, recipient_ids: Sequence[str] | None) -> int:
        """Hang up held calls of a batch, all or those of some recipients; returns how many."""
        chosen = [
            recipient.conversation_id
            for recipient in batch.recipients
            if recipient.conversation_id and (recipient_ids is None or recipient.id in recipient_ids)
        ]
        return sum(self.calls.finish(conversation_id) for conversation_id in chosen)
