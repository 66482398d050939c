"""Whether one agent takes sessions, as its refusals and single probes tell. Pure; times are monotonic seconds.

Opening a session that is refused for good changes nothing, however many people try. So after a refusal nobody
tries but one, the probe, after a pause that grows with every probe that fails.
"""

from enum import Enum, auto

from attrs import define, field

from actors.agent_events import SessionEnd
from actors.runtime.backoff import doubling_s

ABOUT_THE_SESSION = 1008
"""Close code of what the agent finds wrong with a session: its settings, or something in this one alone, such as
a variable that this person's call lacks (ElevenLabs AsyncAPI, `ErrorCode`)."""


class Pass(Enum):
    FREE = auto()
    PROBE = auto()
    """Nobody else passes until this one has told what came of it."""
    DENIED = auto()


@define(kw_only=True)
class AgentGate:
    """The gate before one agent, shared by everybody who talks with it.

    Attributes:
        retry_first_s: pause before the first probe, doubling with each that is refused, up to `retry_max_s`.
        refusal: how the agent last refused; None before it ever did.
    """

    retry_first_s: float
    retry_max_s: float
    refusal: SessionEnd | None = field(default=None, init=False)
    _is_closed: bool = field(default=False, init=False)
    _is_probed: bool = field(default=False, init=False)
    _probe_at: float = field(default=0.0, init=False)
    _probes_refused: int = field(default=0, init=False)
    _has_taken_any: bool = field(default=False, init=False)
    _refused_alone: str | None = field(default=None, init=False)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def is_probe_due(self, now: float) -> bool:
        return self._is_closed and not self._is_probed and now >= self._probe_at

    def would_pass(self, now: float) -> bool:
        """What `ask` would say, without asking."""
        return not self._is_closed or self.is_probe_due(now)

    def ask(self, now: float) -> Pass:
        """Who is told `PROBE` must tell `accepted`, `refused` or `probe_left`."""
        if not self._is_closed:
            return Pass.FREE
        if not self.is_probe_due(now):
            return Pass.DENIED
        self._is_probed = True
        return Pass.PROBE

    def accepted(self, *, is_probe: bool) -> bool:
        """The agent has taken a session. True when that opens the gate.

        Sessions older than the refusal prove nothing about new ones; only the probe does.
        """
        self._has_taken_any = True
        if not self._is_closed:
            self._refused_alone = None
            return False
        if is_probe:
            self._is_closed = self._is_probed = False
            self._refused_alone = None
        return is_probe

    def refused(self, end: SessionEnd, *, user_id: str, is_probe: bool, now: float) -> None:
        """The agent has refused this person's session."""
        self.refusal = end
        if not self._is_closed:
            if not self._may_be_personal(end, user_id):
                self._is_closed, self._is_probed, self._probes_refused = True, False, 0
                self._probe_at = now + self.retry_first_s
        elif is_probe:
            self._is_probed = False
            self._probes_refused += 1
            self._probe_at = now + doubling_s(
                self.retry_first_s, self._probes_refused, max_s=self.retry_max_s
            )

    def probe_left(self) -> None:
        """The probe ended without telling anything; the next may follow at once."""
        self._is_probed = False

    def _may_be_personal(self, end: SessionEnd, user_id: str) -> bool:
        """Whether this is so far the only person refused by an agent that takes others. It must not cost
        everybody their answers; a second person in a row tells that it is the agent.
        """
        if end.code != ABOUT_THE_SESSION or not self._has_taken_any:
            return False
        is_alone = self._refused_alone in {None, user_id}
        self._refused_alone = user_id
        return is_alone
