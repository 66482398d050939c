"""Batches of calls, submitted once and watched. Source: ElevenLabs OpenAPI, `/v1/convai/batch-calling`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import trio
from attrs import Factory, define, field, frozen

from actors.calls import BatchSummary
from actors.ports import VendorRefusedError, VendorUnavailableError
from daemon.elevenlabs import mapping
from daemon.elevenlabs.fields import Record, items, required_text, whole_number
from daemon.elevenlabs.problems import UnexpectedAnswerError
from daemon.elevenlabs.rest import OutcomeUnknownError, RestApi

RECIPIENTS_MAX: Final = 10_000
RESERVED_PREFIXES: Final = ("system__", "secret__")
"""Dynamic variables with such names are not the caller's (ElevenLabs docs: dynamic variables)."""

_LISTED_MAX: Final = 100


class SubmissionUnknownError(VendorUnavailableError):
    """Nobody knows whether the batch was submitted.

    Attributes:
        candidates: ids of several new batches, of which one may be it; empty when none was found.
    """

    def __init__(self, reason: str, candidates: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.candidates = tuple(candidates)


@frozen(kw_only=True)
class Recipient:
    """Somebody to be called. `phone_number` is in E.164."""

    id: str
    phone_number: str
    variables: Mapping[str, str] = Factory(dict)

    def as_json(self) -> dict[str, Any]:
        wire: dict[str, Any] = {"id": self.id, "phone_number": self.phone_number}
        if self.variables:
            wire["conversation_initiation_client_data"] = {"dynamic_variables": dict(self.variables)}
        return wire


@frozen(kw_only=True)
class BatchOrder:
    """A batch to be submitted.

    Attributes:
        phone_number_id: of a number imported in ElevenLabs.
        begins_at: None is now.
        timezone: IANA name of the clock that `begins_at` was meant by.
    """

    name: str
    agent_id: str
    phone_number_id: str
    recipients: Sequence[Recipient]
    begins_at: datetime | None = None
    timezone: str = "UTC"

    def as_json(self) -> dict[str, Any]:
        wire: dict[str, Any] = {
            "call_name": self.name,
            "agent_id": self.agent_id,
            "agent_phone_number_id": self.phone_number_id,
            "recipients": [recipient.as_json() for recipient in self.recipients],
        }
        if self.begins_at is not None:
            wire["scheduled_time_unix"] = int(self.begins_at.timestamp())
            wire["timezone"] = self.timezone
        return wire


@frozen(kw_only=True)
class ListedBatch:
    """A batch as the workspace's list tells it: how many calls there are, were begun, and are over."""

    summary: BatchSummary
    calls: int
    dispatched: int
    finished: int


def _say_nothing(_reason: str) -> None:
    pass


@define(eq=False, kw_only=True)
class BatchCalls:
    """Submits batches and tells how far they are.

    Attributes:
        submit_timeout_s: ElevenLabs stores every recipient before it answers.
        look_every_s, looks: how often and how many times to look for a batch whose answer was lost.
        on_doubt: told the reason when that begins.
    """

    api: RestApi
    submit_timeout_s: float = 60.0
    look_every_s: float = 2.0
    looks: int = 10
    on_doubt: Callable[[str], None] = field(default=_say_nothing)

    async def submit(self, order: BatchOrder) -> str:
        """Submit the batch, once, and return its id.

        When the answer is lost the batch is looked for among those that were not there before: everybody in
        it would be called twice if it were sent again. Cancelled, the outcome is unknown.

        Raises:
            SubmissionUnknownError: it may have been submitted.
            ApiUnavailableError, ApiRefusedError: it was not.
        """
        before = await self.newest(order.agent_id)
        try:
            answer = await self.api.post(
                "/convai/batch-calling/submit", order.as_json(), timeout_s=self.submit_timeout_s
            )
            return required_text(answer, "id")
        except (OutcomeUnknownError, UnexpectedAnswerError) as error:
            self.on_doubt(str(error))
            return await self._look_for(order, before, str(error))

    async def newest(self, agent_id: str) -> Sequence[ListedBatch]:
        """The agent's newest batches, at most a hundred, newest first.

        Raises:
            ApiUnavailableError, ApiRefusedError: as `RestApi.get`.
        """
        params: dict[str, str | int] = {"limit": _LISTED_MAX, "agent_id": agent_id}
        page = await self.api.get("/convai/batch-calling/workspace", params)
        return [_listed(record) for record in items(page, "batch_calls")]

    async def _look_for(self, order: BatchOrder, before: Sequence[ListedBatch], reason: str) -> str:
        trouble = ""
        for look in range(self.looks):
            if look:
                await trio.sleep(self.look_every_s)
            try:
                listed = await self.newest(order.agent_id)
            except (VendorUnavailableError, VendorRefusedError) as error:
                trouble = f"; the list of batches cannot be read: {error}"
                continue
            trouble = ""
            found = _newcomers(order, before, listed)
            if len(found) == 1:
                return found[0]
            if found:
                raise SubmissionUnknownError(reason, found)
        raise SubmissionUnknownError(reason + trouble)


def _newcomers(
    order: BatchOrder, before: Sequence[ListedBatch], listed: Sequence[ListedBatch]
) -> Sequence[str]:
    """Batches that look like the order and were not there before. Both lists tell time by ElevenLabs' clock,
    so that ours need not be right.
    """
    known = {batch.summary.id for batch in before}
    # Where batches were deleted, older ones have moved up into the list.
    since = max((batch.summary.created_at for batch in before), default=None)
    return [
        batch.summary.id
        for batch in listed
        if batch.summary.id not in known
        and (since is None or batch.summary.created_at >= since)
        and batch.summary.name == order.name
        and batch.summary.agent_id == order.agent_id
        and batch.calls == len(order.recipients)
    ]


def _listed(record: Record) -> ListedBatch:
    return ListedBatch(
        summary=mapping.batch_summary(record),
        calls=whole_number(record.get("total_calls_scheduled")) or 0,
        dispatched=whole_number(record.get("total_calls_dispatched")) or 0,
        finished=whole_number(record.get("total_calls_finished")) or 0,
    )
