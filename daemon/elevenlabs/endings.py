"""What a close code, a refused upgrade or a broken connection means for the session that met it."""

from actors.agent_events import AgentFault, SessionEnd, SessionEndReason
from daemon.elevenlabs.problems import ApiRefusedError, ApiUnavailableError, Problem, sentence

_BY_CODE = {
    1000: SessionEndReason.ENDED_BY_AGENT,
    1001: SessionEndReason.LOST,
    1002: SessionEndReason.FAILED,
    1005: SessionEndReason.LOST,
    1006: SessionEndReason.LOST,
    1008: SessionEndReason.REFUSED,
    1009: SessionEndReason.LOST,
    1011: SessionEndReason.FAILED,
    1013: SessionEndReason.FAILED,  # "try again later" (RFC 6455's registry)
    3000: SessionEndReason.REFUSED,  # seen live with `quota_exceeded`
    4300: SessionEndReason.FAILED,  # the queue's wait timed out
}
_FULL_WORDS = ("concurrent", "concurrency")
_WITHOUT_CLOSE_FRAME = frozenset({1005, 1006})


def lost(detail: str) -> SessionEnd:
    return SessionEnd(reason=SessionEndReason.LOST, code=None, detail=sentence(detail))


def closed(code: int, reason: str | None, *, fault: AgentFault | None, was_open: bool) -> SessionEnd:
    """The end by a WebSocket close code (ElevenLabs AsyncAPI, `ErrorCode`).

    `fault` is the last error event. It normally carries the code of the close that follows, and where the
    connection broke instead, it says why all the same. A goodbye before the session `was_open` is none. No code
    is documented for a start over the concurrency limit; the words beside it tell.
    """
    deciding = fault.code if fault and code in _WITHOUT_CLOSE_FRAME and fault.code in _BY_CODE else code
    why = _BY_CODE.get(deciding, SessionEndReason.FAILED)
    if why is SessionEndReason.ENDED_BY_AGENT and not was_open:
        why = SessionEndReason.FAILED
    detail = _detail(code, reason, fault)
    if not was_open and any(word in detail.lower() for word in _FULL_WORDS):
        why = SessionEndReason.FULL
    return SessionEnd(reason=why, code=deciding, detail=detail)


def refused(problem: Problem) -> SessionEnd:
    """The end by an HTTP status in place of an upgrade."""
    why = SessionEndReason.FULL if problem.is_full else SessionEndReason.FAILED
    if problem.is_refusal:
        why = SessionEndReason.REFUSED
    return SessionEnd(reason=why, code=problem.status, detail=problem.sentence)


def unsigned(error: ApiUnavailableError | ApiRefusedError) -> SessionEnd:
    """The end by an API that gave no signed URL."""
    detail = sentence(f"no signed URL: {error}")
    if isinstance(error, ApiRefusedError):
        return SessionEnd(reason=SessionEndReason.REFUSED, code=error.status, detail=detail)
    if error.is_full:
        return SessionEnd(reason=SessionEndReason.FULL, code=error.status, detail=detail)
    if error.status is None:
        return lost(detail)
    return SessionEnd(reason=SessionEndReason.FAILED, code=error.status, detail=detail)


def _detail(code: int, reason: str | None, fault: AgentFault | None) -> str:
    words = [f"close {code}"]
    if fault:
        words.append(f"{fault.error_type} ({fault.code})" if fault.code != code else fault.error_type)
    explanation = reason or (fault.detail if fault else "")
    return sentence(" ".join(words) + (f": {explanation}" if explanation else ""))
