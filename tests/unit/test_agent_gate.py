"""The gate before an agent that refuses: who passes, and when."""

import pytest

from actors.agent_events import SessionEnd, SessionEndReason
from actors.conversation.agent_gate import AgentGate, Pass

REFUSED = SessionEnd(reason=SessionEndReason.REFUSED, code=1008, detail="override refused")
NO_CREDIT = SessionEnd(reason=SessionEndReason.REFUSED, code=3000, detail="quota_exceeded")


def gate() -> AgentGate:
    return AgentGate(retry_first_s=30, retry_max_s=600)


def closed() -> AgentGate:
    shut = gate()
    shut.refused(REFUSED, user_id="ana", is_probe=False, now=0)
    return shut


# A function, since this changes behind the back of the type checker.
def is_closed(of: AgentGate) -> bool:
    return of.is_closed


def test_everybody_passes_at_first() -> None:
    assert [gate().ask(0), gate().ask(1)] == [Pass.FREE, Pass.FREE]


def test_after_a_refusal_nobody_passes_until_the_pause_is_over() -> None:
    shut = closed()
    assert [shut.ask(now) for now in (0, 15, 29.9)] == [Pass.DENIED] * 3
    assert not shut.would_pass(29.9)
    assert shut.refusal == REFUSED


def test_then_one_probes_and_nobody_else() -> None:
    shut = closed()
    assert shut.would_pass(30)
    assert [shut.ask(30), shut.ask(30), shut.ask(500)] == [Pass.PROBE, Pass.DENIED, Pass.DENIED]


def test_a_probe_that_is_taken_opens_the_gate() -> None:
    shut = closed()
    shut.ask(30)
    assert shut.accepted(is_probe=True)
    assert not is_closed(shut)
    assert shut.ask(31) is Pass.FREE


def test_refused_probes_come_at_growing_pauses() -> None:
    shut, now, pauses = closed(), 0.0, []
    for _ in range(7):
        began = now
        while shut.ask(now) is not Pass.PROBE:
            now += 1
        pauses.append(now - began)
        shut.refused(REFUSED, user_id="ana", is_probe=True, now=now)
    assert pauses == [30, 60, 120, 240, 480, 600, 600]


def test_a_probe_that_tells_nothing_may_be_followed_at_once() -> None:
    shut = closed()
    shut.ask(30)
    shut.probe_left()
    assert shut.ask(30) is Pass.PROBE


def test_older_sessions_neither_open_the_gate_nor_lengthen_the_pause() -> None:
    shut = closed()
    assert not shut.accepted(is_probe=False)
    shut.refused(REFUSED, user_id="luis", is_probe=False, now=29)
    assert is_closed(shut)
    assert shut.ask(30) is Pass.PROBE


def test_the_pause_begins_anew_with_the_next_refusal_after_a_return() -> None:
    shut = closed()
    shut.ask(30)
    shut.refused(NO_CREDIT, user_id="ana", is_probe=True, now=30)
    shut.ask(90)
    shut.accepted(is_probe=True)
    shut.refused(NO_CREDIT, user_id="ana", is_probe=False, now=100)
    assert not shut.would_pass(129.9)
    assert shut.would_pass(130)


def test_one_person_refused_by_an_agent_that_takes_others_shuts_nobody_out() -> None:
    open_gate = gate()
    open_gate.accepted(is_probe=False)
    for now in (0, 100, 200):
        open_gate.refused(REFUSED, user_id="ana", is_probe=False, now=now)
    assert not is_closed(open_gate)

    open_gate.refused(REFUSED, user_id="luis", is_probe=False, now=300)
    assert is_closed(open_gate)


def test_a_session_that_is_taken_in_between_makes_each_refusal_the_first() -> None:
    open_gate = gate()
    for user_id in ("ana", "luis", "eva"):
        open_gate.accepted(is_probe=False)
        open_gate.refused(REFUSED, user_id=user_id, is_probe=False, now=0)
    assert not is_closed(open_gate)


@pytest.mark.parametrize("code", [3000, 401, 402, 403])
def test_a_refusal_of_the_account_is_never_personal(code: int) -> None:
    open_gate = gate()
    open_gate.accepted(is_probe=False)
    end = SessionEnd(reason=SessionEndReason.REFUSED, code=code, detail="")
    open_gate.refused(end, user_id="ana", is_probe=False, now=0)
    assert is_closed(open_gate)
