"""One turn of a conversation: what the person said, and when the agent's answer is complete. Pure.

A turn is everything a person wrote since the last answer, said to the agent as one message. The answer may
come in several replies around tools, with or without the streamed parts before them, and with or without an
event that says it is over (ElevenLabs AsyncAPI; observed sessions). Ending a turn with the first reply would
hand the second one to the next question.
"""

from collections.abc import Sequence

from attrs import define, field, frozen

from actors.agent_events import (
    AgentEvent,
    AgentReplied,
    PartKind,
    ReplyCompleted,
    ReplyPart,
    ToolCalled,
    ToolFinished,
    ToolStarted,
)
from actors.messages import PendingMessage

LLM_TIMEOUT_S = 20.0
"""The longest that ElevenLabs waits for its own language model; after a tool nothing may be heard for as long."""

END_CALL_TOOL = "end_call"
SKIP_TURN_TOOL = "skip_turn"


@frozen(kw_only=True)
class CoalescingRules:
    """A turn begins once nothing arrived for `quiet_s`, and at the latest `max_s` after its first message.

    Above `per_minute_max` messages in a minute it waits until they have become fewer, at most for a minute.
    """

    quiet_s: float
    max_s: float
    per_minute_max: int = 20


@frozen(kw_only=True)
class Gathering:
    """Messages that are still coming in. Times are monotonic seconds."""

    first_at: float
    last_at: float

    @classmethod
    def begin(cls, now: float) -> "Gathering":
        return cls(first_at=now, last_at=now)

    def another(self, now: float) -> "Gathering":
        return Gathering(first_at=self.first_at, last_at=now)

    def over_at(self, rules: CoalescingRules) -> float:
        return min(self.last_at + rules.quiet_s, self.first_at + rules.max_s)


@frozen(kw_only=True)
class Turn:
    """What a person said in one go, oldest message first; never empty."""

    messages: Sequence[PendingMessage]

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    @property
    def message_ids(self) -> list[int]:
        return [message.id for message in self.messages]

    @property
    def address(self) -> str:
        """Where the answer goes: where the newest message came from."""
        return self.messages[-1].address


@define
class _Reply:
    """One reply in the making: streamed parts, and then, normally, its final text.

    Attributes:
        is_whole: the parts have stopped, or the final text is there.
    """

    event_id: int | None
    parts: list[str] = field(factory=list)
    final: str | None = None
    is_whole: bool = False

    @property
    def text(self) -> str:
        return (self.final if self.final is not None else "".join(self.parts)).strip()


@define
class AnswerCollector:
    """Gathers the agent's answer to one turn. Times are monotonic seconds.

    Attributes:
        settle_s: quiet after which an answer counts as complete when the agent does not say so.
        after_event_id: the newest event before this turn; that one and older ones are late news of an
            earlier turn and are ignored.
        is_over: the agent said that its answer is over; from then on no further reply is begun.
    """

    settle_s: float
    after_event_id: int = -1
    _replies: list[_Reply] = field(factory=list, init=False)
    _tools_running: set[str] = field(factory=set, init=False)
    _more_to_come: bool = field(default=False, init=False)
    _newest_tool_id: int = field(default=-1, init=False)
    _newest_words_id: int = field(default=-1, init=False)
    is_over: bool = field(default=False, init=False)
    _last_at: float = field(default=0.0, init=False)

    def feed(self, event: AgentEvent, now: float) -> None:
        """Take an event of the session."""
        event_id = getattr(event, "event_id", None)
        if event_id is not None and event_id <= self.after_event_id:
            return
        match event:
            case AgentReplied():
                self._take_reply(event)
            case ReplyPart():
                self._take_part(event)
            case ReplyCompleted():
                self._take_completion(event)
            case ToolCalled(call_id=call_id, expects_response=expects_response):
                self._tool_moved(event_id, running=call_id if expects_response else None)
            case ToolStarted(call_id=call_id):
                self._tool_moved(event_id, running=call_id)
            case ToolFinished():
                self._take_tool_end(event)
            case _:
                return
        self._last_at = now

    def tool_answered(self, call_id: str) -> None:
        """A result of ours is on its way; whether the agent confirms that depends on its settings."""
        self._tools_running.discard(call_id)

    def is_complete(self, now: float) -> bool:
        if self.is_over and self._is_whole:
            return True
        settles_at = self.settles_at
        return settles_at is not None and now >= settles_at

    @property
    def settles_at(self) -> float | None:
        """When the answer will count as complete if nothing more is heard; None while it cannot be."""
        if self.is_over:
            return self._last_at + self.settle_s
        if not self._replies or not self._is_whole or self._tools_running:
            return None
        return self._last_at + (LLM_TIMEOUT_S if self._more_to_come else self.settle_s)

    @property
    def is_usable(self) -> bool:
        """Whether what was heard so far may stand as the answer if nothing more can be heard: whole replies,
        and nothing that was to follow.
        """
        return bool(self.paragraphs) and self._is_whole and not self._more_to_come

    @property
    def paragraphs(self) -> list[str]:
        """The replies in order; blank ones are left out."""
        return [reply.text for reply in self._replies if reply.text]

    @property
    def _is_whole(self) -> bool:
        return all(reply.is_whole for reply in self._replies)

    def _find(self, event_id: int | None) -> _Reply | None:
        """The reply of this event; for an event without an id, the newest reply without one."""
        return next((reply for reply in reversed(self._replies) if reply.event_id == event_id), None)

    def _newest_without_final(self) -> _Reply | None:
        """What a final text without an id belongs to: the parts streamed before it, whose id it has lost."""
        return next((reply for reply in reversed(self._replies) if reply.final is None), None)

    def _take_reply(self, event: AgentReplied) -> None:
        reply = self._find(event.event_id) if event.event_id is not None else self._newest_without_final()
        if reply is None:
            if self.is_over:
                return
            reply = _Reply(event.event_id)
            self._replies.append(reply)
        reply.final, reply.is_whole = event.text, True
        self._words_came(event.event_id)

    def _take_part(self, part: ReplyPart) -> None:
        reply = self._find(part.event_id)
        if reply is None or (part.event_id is None and part.kind is PartKind.START):
            if self.is_over or (part.kind is PartKind.STOP and not part.text):
                return
            if reply is not None:
                reply.is_whole = True
            reply = _Reply(part.event_id)
            self._replies.append(reply)
        if reply.final is not None:
            # The last part may come after the final text; there is nothing left to add.
            return
        reply.parts.append(part.text)
        if part.kind is PartKind.STOP:
            reply.is_whole = True
            self._words_came(part.event_id)

    def _take_completion(self, event: ReplyCompleted) -> None:
        # Without any reply it belongs to something else, such as a first message that was dropped; and one that
        # is older than a tool, to what was said before it.
        if self._replies and (event.event_id is None or event.event_id >= self._newest_tool_id):
            self.is_over = True

    def _take_tool_end(self, event: ToolFinished) -> None:
        self._tools_running.discard(event.call_id)
        if event.name == END_CALL_TOOL and not event.is_error:
            self.is_over = True
        elif event.name == SKIP_TURN_TOOL and not event.is_error:
            # The agent chose to say nothing, which is an answer too; and beside words of the same event no other one.
            if event.event_id is None or self._find(event.event_id) is None:
                self._replies.append(_Reply(event.event_id, is_whole=True))
            self._words_came(event.event_id)
        else:
            self._tool_moved(event.event_id, running=None)

    def _tool_moved(self, event_id: int | None, *, running: str | None) -> None:
        """Words follow a tool, unless newer ones are there already."""
        if event_id is None or event_id >= self._newest_words_id:
            self._more_to_come = True
            if event_id is not None:
                self._newest_tool_id = max(self._newest_tool_id, event_id)
            if running is not None:
                self._tools_running.add(running)

    def _words_came(self, event_id: int | None) -> None:
        """Words newer than every tool show that the tools are done, even where nobody said so."""
        if event_id is None or event_id >= self._newest_tool_id:
            self._more_to_come = False
            self._tools_running.clear()
        if event_id is not None:
            self._newest_words_id = max(self._newest_words_id, event_id)


@define
class BelatedReplies:
    """Replies that come after an answer had counted as complete and was not. Times are monotonic seconds."""

    _expected_until: float = field(default=0.0, init=False)
    _after_event_id: int = field(default=-1, init=False)
    _texts: list[str] = field(factory=list, init=False)

    def expect(self, now: float, *, after_event_id: int) -> None:
        """The agent did not say that its answer was over; `after_event_id` is the newest event of it."""
        self._expected_until = now + LLM_TIMEOUT_S
        self._after_event_id = after_event_id

    def forget(self) -> None:
        """Nothing more belongs to the last answer."""
        self._expected_until = 0.0

    def hear(self, event: AgentEvent, now: float) -> None:
        if not isinstance(event, AgentReplied) or now >= self._expected_until:
            return
        if event.event_id is not None:
            # Older ones stand in the answer already, such as the final text of parts that were taken for it.
            if event.event_id <= self._after_event_id:
                return
            self._after_event_id = event.event_id
        if event.text.strip():
            self._texts.append(event.text)

    @property
    def is_empty(self) -> bool:
        return not self._texts

    def take(self) -> list[str]:
        """What was heard since this was last called."""
        texts, self._texts = self._texts, []
        return texts
