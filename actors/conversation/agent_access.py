"""The way to an agent's session, which every conversation takes: gate, pace and seat, in this order.

It knows how the latest sessions fared, so that what one conversation meets the others need not meet too: an
agent that refuses is asked by one of them (`agent_gate`), a vendor in trouble by few (`connect_pace`), and one
that has as many sessions of ours as it takes gets no more for a while (`socket_budget`). It raises what the
operator should know, and settles it once it is over.
"""

from collections.abc import Sequence

import structlog
import trio
from attrs import define, field, frozen

from actors.agent_events import AgentEvent, AgentFault, SessionEnd, SessionEndReason, SessionOpened
from actors.alerts import Alerts
from actors.conversation.agent_gate import ABOUT_THE_SESSION, AgentGate, Pass
from actors.conversation.connect_pace import Breaker, ConnectPace, CrowdedError
from actors.conversation.socket_budget import NoSeatError, SocketBudget, SocketHolder

_log = structlog.get_logger(__name__)

STANDS_S = 2.0
"""A session that a bad override ends is open for a moment; one in which the agent says nothing counts as taken
after this."""


@frozen(kw_only=True)
class AccessRules:
    """Limits of opening sessions; see `[elevenlabs]` in config.toml."""

    connects_per_second: float
    refused_retry_first_s: float
    refused_retry_max_s: float


@frozen
class NotAdmittedError(Exception):
    """No session was asked for; `end` says why, as if it had been."""

    end: SessionEnd


class AgentAccess:
    """Shared by all conversations. Whoever was admitted leaves, whatever happens."""

    def __init__(self, rules: AccessRules, *, budget: SocketBudget, alerts: Alerts) -> None:
        self._rules = rules
        self._budget = budget
        self._alerts = alerts
        self._breaker = Breaker()
        self._pace = ConnectPace(rules.connects_per_second, self._breaker)
        self._gates: dict[str, AgentGate] = {}
        self._probes: dict[str, Admission] = {}
        self._returned: list[str | None] = []
        self._troubled = trio.Event()

    # --- for conversations ---

    def takes_ahead(self, agent_id: str, *, has_seat: bool) -> bool:
        """Whether it is worth trying to open a session that nobody needs yet."""
        has_room = has_seat or not self._budget.is_exhausted
        return has_room and self._pace.takes_ahead and self.takes(agent_id)

    async def admit(
        self, holder: SocketHolder, *, agent_id: str, user_id: str, is_ahead: bool
    ) -> "Admission":
        """Wait until a session with this agent may be opened. Who is cancelled has taken nothing.

        Raises:
            NotAdmittedError: it may not be, for as long as anybody should wait.
        """
        gate = self._gate(agent_id)
        answer = gate.ask(trio.current_time())
        if answer is Pass.DENIED:
            raise NotAdmittedError(_standing(gate))
        admission = Admission(self, holder, agent_id, user_id, is_probe=answer is Pass.PROBE)
        if admission.is_probe:
            self._probes[agent_id] = admission
        try:
            await self._go_through(admission, gate, is_ahead=is_ahead)
        except BaseException:
            admission.leave()
            raise
        return admission

    def fell_idle(self) -> None:
        """A session has begun to serve nobody; whoever waits for its socket gets it."""
        self._budget.fell_idle()

    async def _go_through(self, admission: "Admission", gate: AgentGate, *, is_ahead: bool) -> None:
        try:
            admission.is_trial = await self._pace.take(is_ahead=is_ahead)
            if gate.is_closed and not admission.is_probe:
                # While we waited, somebody else was refused.
                raise NotAdmittedError(_standing(gate))
            await self._budget.take(admission.holder, is_ahead=is_ahead)
        except CrowdedError:
            raise NotAdmittedError(_lost("too many sessions wait to be opened")) from None
        except NoSeatError:
            raise NotAdmittedError(_lost("every agent socket is in use")) from None

    # --- for whoever lets those who waited try again ---

    @property
    def is_troubled(self) -> bool:
        """Whether anything will have to be looked at again."""
        gates = any(gate.is_closed for gate in self._gates.values())
        return gates or self._breaker.is_tripped or self._budget.is_lowered or bool(self._returned)

    async def until_troubled(self) -> None:
        while not self.is_troubled:
            self._troubled = trio.Event()
            await self._troubled.wait()

    @property
    def is_crowded(self) -> bool:
        """Whether openings wait for longer than a second or so."""
        return len(self._pace) > self._rules.connects_per_second

    def takes(self, agent_id: str | None) -> bool:
        """Whether sessions with this agent may be opened now; with None, of any."""
        if agent_id is None:
            return not self._breaker.is_tripped
        return self._gate(agent_id).would_pass(trio.current_time())

    def probes_due(self) -> Sequence[str | None]:
        """Agents that refuse sessions, and that somebody should try again now; None stands for any agent, while
        most sessions fail and nobody waits for one.
        """
        now = trio.current_time()
        due: list[str | None] = [agent_id for agent_id, gate in self._gates.items() if gate.is_probe_due(now)]
        if self._breaker.is_tripped and now >= self._breaker.free_at() and not len(self._pace):
            due.append(None)
        return due

    def take_returned(self) -> Sequence[str | None]:
        """Agents that take sessions again since this was last called; None stands for all of them."""
        returned, self._returned = self._returned, []
        return returned

    def review(self) -> None:
        """What becomes true by time alone: a probe that stands, a limit that is whole again."""
        for probe in list(self._probes.values()):
            if probe.stands:
                self.taken(probe)
        if not self._budget.is_lowered:
            self._alerts.settle("agent_crowded")

    # --- what admissions tell ---

    def came_about(self) -> None:
        if self._breaker.succeeded(trio.current_time()):
            _log.info("agent sessions come about again")
            self._alerts.settle("agent_sessions_fail")
            self._returned.append(None)
        self._changed()

    def taken(self, admission: "Admission") -> None:
        """The agent said something in the session, or let it stand."""
        agent_id, gate = admission.agent_id, self._gate(admission.agent_id)
        is_probe = self._is_probing(admission)
        if is_probe:
            del self._probes[agent_id]
        if gate.accepted(is_probe=is_probe):
            _log.info("agent takes sessions again", agent_id=agent_id)
            self._returned.append(agent_id)
            self._changed()
        if not gate.is_closed:
            self._alerts.settle(_refusal_key(agent_id))

    def ended(self, admission: "Admission", end: SessionEnd, *, was_open: bool) -> None:
        match end.reason:
            case SessionEndReason.REFUSED:
                self._refused(admission, end)
            case SessionEndReason.FULL:
                self._budget.lower()
                self._alerts.raise_alert(
                    "agent_crowded", f"ElevenLabs takes no more sessions at a time: {end.detail}"
                )
            case SessionEndReason.LOST | SessionEndReason.FAILED if not was_open:
                self._failed(admission, end)
            case _:
                pass
        self._changed()

    def left(self, admission: "Admission") -> None:
        self._budget.leave(admission.holder)
        if self._is_probing(admission):
            if admission.stands:
                self.taken(admission)
            else:
                del self._probes[admission.agent_id]
                self._gate(admission.agent_id).probe_left()
        if admission.is_trial:
            admission.is_trial = False
            self._breaker.trial_left()
        self._changed()

    def _refused(self, admission: "Admission", end: SessionEnd) -> None:
        if end.code == ABOUT_THE_SESSION and admission.has_spoken:
            # The agent had taken it, and did not like something that was said in it later.
            return
        agent_id, gate = admission.agent_id, self._gate(admission.agent_id)
        is_probe = self._is_probing(admission)
        if is_probe:
            del self._probes[agent_id]
        gate.refused(end, user_id=admission.user_id, is_probe=is_probe, now=trio.current_time())
        if gate.is_closed:
            self._alerts.raise_alert(_refusal_key(agent_id), f"the agent refuses sessions: {end.detail}")
        else:
            _log.warning("agent refuses this person's session", agent_id=agent_id, code=end.code)

    def _failed(self, admission: "Admission", end: SessionEnd) -> None:
        is_trial, admission.is_trial = admission.is_trial, False
        if self._breaker.failed(trio.current_time(), is_trial=is_trial):
            self._alerts.raise_alert(
                "agent_sessions_fail", f"most agent sessions do not come about: {end.detail}"
            )

    def _is_probing(self, admission: "Admission") -> bool:
        return self._probes.get(admission.agent_id) is admission

    def _changed(self) -> None:
        self._pace.wake()
        if self.is_troubled:
            self._troubled.set()

    def _gate(self, agent_id: str) -> AgentGate:
        gate = self._gates.get(agent_id)
        if gate is None:
            gate = self._gates[agent_id] = AgentGate(
                retry_first_s=self._rules.refused_retry_first_s, retry_max_s=self._rules.refused_retry_max_s
            )
        return gate


@define(eq=False)
class Admission:
    """The leave to open one session, and what is told of it.

    Attributes:
        is_probe: others are denied until this one has told something.
        is_trial: the same for the vendor at large; false again once it has.
    """

    access: AgentAccess
    holder: SocketHolder
    agent_id: str
    user_id: str
    is_probe: bool = field(kw_only=True)
    is_trial: bool = field(default=False, init=False)
    has_spoken: bool = field(default=False, init=False)
    _opened_at: float | None = field(default=None, init=False)

    @property
    def stands(self) -> bool:
        """Whether the session has stayed long enough to count as taken."""
        return self._opened_at is not None and trio.current_time() >= self._opened_at + STANDS_S

    def heard(self, event: AgentEvent) -> None:
        if isinstance(event, SessionOpened):
            self._opened_at, self.is_trial = trio.current_time(), False
            self.access.came_about()
        elif not self.has_spoken and not isinstance(event, AgentFault):
            self.has_spoken = True
            self.access.taken(self)

    def ended(self, end: SessionEnd) -> None:
        self.access.ended(self, end, was_open=self._opened_at is not None)

    def leave(self) -> None:
        """The session is over, or none was opened."""
        self.access.left(self)


def _refusal_key(agent_id: str) -> str:
    return f"agent_refused_{agent_id}"


def _standing(gate: AgentGate) -> SessionEnd:
    """What everybody meets while the gate is closed."""
    refusal = gate.refusal
    code, detail = (refusal.code, refusal.detail) if refusal is not None else (None, "")
    return SessionEnd(reason=SessionEndReason.REFUSED, code=code, detail=f"not tried again: {detail}")


def _lost(detail: str) -> SessionEnd:
    return SessionEnd(reason=SessionEndReason.LOST, code=None, detail=detail)
