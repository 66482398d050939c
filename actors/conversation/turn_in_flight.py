"""How one turn is brought to its answer, whatever the agent's session does meanwhile. Pure.

The actor asks `next_step` what to do, does it, and tells what happened. Times are monotonic seconds.
"""

from enum import Enum, auto

from attrs import define, field, frozen

from actors.agent_events import AgentEvent, SessionEnd
from actors.conversation.turn import AnswerCollector, Turn
from actors.runtime.backoff import doubling_s


@frozen(kw_only=True)
class TurnRules:
    """Limits of one turn.

    Attributes:
        reply_timeout_s: how long the agent may take for the whole answer.
        settle_s: quiet after which an answer counts as complete when the agent does not say so.
        attempts_max: sessions that may fail before the turn is given up; of silent ones only two.
        retry_first_s: wait before the second attempt, doubling up to `retry_max_s`.
    """

    reply_timeout_s: float
    settle_s: float
    attempts_max: int
    retry_first_s: float
    retry_max_s: float


SILENCES_MAX = 2
"""An agent that stays silent in two sessions will in a third; each costs the person a whole timeout."""


class Link(Enum):
    CLOSED = auto()
    OPENING = auto()
    OPEN = auto()


class Step(Enum):
    WAIT = auto()
    OPEN = auto()
    """Open a session."""
    SAY = auto()
    """Say the turn in the open session."""
    COMMIT = auto()
    """The answer is there."""
    REPLACE = auto()
    """Close the session, in which the agent is silent, and tell `session_was_silent`."""
    GIVE_UP = auto()


@define(kw_only=True)
class TurnInFlight:
    """One turn under way.

    Attributes:
        began_at: when the person's first message of this turn arrived.
        jitter: between 0 and 1; spreads the retries of many conversations over time.
    """

    turn: Turn
    rules: TurnRules
    began_at: float
    jitter: float
    _collector: AnswerCollector | None = field(default=None, init=False)
    _deadline: float = field(default=float("inf"), init=False)
    _retry_at: float = field(default=0.0, init=False)
    _attempts_failed: int = field(default=0, init=False)
    _silences: int = field(default=0, init=False)
    _is_hopeless: bool = field(default=False, init=False)
    _ended_usable: bool = field(default=False, init=False)

    @property
    def is_said(self) -> bool:
        return self._collector is not None

    @property
    def answer(self) -> list[str]:
        """What the agent said, a paragraph each; empty when it chose to say nothing."""
        return self._collector.paragraphs if self._collector is not None else []

    @property
    def completes_by_silence(self) -> bool:
        """The agent did not say that its answer is over, so more may follow."""
        return self._collector is not None and not self._collector.is_over

    def said(self, now: float, *, after_event_id: int) -> None:
        """The turn was said; `after_event_id` is the newest event of the session before that."""
        self._collector = AnswerCollector(settle_s=self.rules.settle_s, after_event_id=after_event_id)
        self._deadline = now + self.rules.reply_timeout_s

    def hear(self, event: AgentEvent, now: float) -> None:
        if self._collector is not None:
            self._collector.feed(event, now)

    def tool_answered(self, call_id: str) -> None:
        if self._collector is not None:
            self._collector.tool_answered(call_id)

    def session_was_silent(self) -> None:
        """No whole answer came in time; the session is closed. The person has waited long enough already, so
        the next attempt comes at once.
        """
        self._silences += 1
        self._attempts_failed += 1
        self._collector = None

    def session_ended(self, end: SessionEnd, now: float) -> None:
        collector = self._collector
        if collector is not None and (collector.is_usable or collector.is_complete(now)):
            self._ended_usable = True
        elif not end.may_retry:
            self._is_hopeless = True
        else:
            self._collector = None
            self._retry_at = now + self._backoff_s() * (0.5 + self.jitter / 2)
            self._attempts_failed += 1

    def next_step(self, now: float, link: Link) -> Step:
        if self._ended_usable:
            return Step.COMMIT
        if self._is_given_up:
            return Step.GIVE_UP
        if self._collector is None:
            if link is Link.OPEN:
                return Step.SAY
            return Step.OPEN if link is Link.CLOSED and now >= self._retry_at else Step.WAIT
        if self._collector.is_complete(now):
            return Step.COMMIT
        if now < self._deadline:
            return Step.WAIT
        return Step.COMMIT if self._collector.is_usable else Step.REPLACE

    def next_moment(self, link: Link) -> float:
        """When `next_step` may change by itself."""
        if self._collector is None:
            return self._retry_at if link is Link.CLOSED else float("inf")
        settles_at = self._collector.settles_at
        return self._deadline if settles_at is None else min(self._deadline, settles_at)

    @property
    def _is_given_up(self) -> bool:
        return (
            self._is_hopeless
            or self._silences >= SILENCES_MAX
            or self._attempts_failed >= self.rules.attempts_max
        )

    def _backoff_s(self) -> float:
        return doubling_s(self.rules.retry_first_s, self._attempts_failed, max_s=self.rules.retry_max_s)
