"""What ElevenLabs says when it refuses a request, over REST or at the socket's upgrade."""

import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from actors.ports import VendorRefusedError, VendorUnavailableError
from daemon.masking import mask_text

_SENTENCE_MAX = 300

_SECRETS = re.compile(
    r"(?:wss?|https?)://\S+"  # a signed URL is a key to the agent
    r"|\bcvtkn_\w+|\b(?:sk|wsec)_\w+",
    re.IGNORECASE,
)

# Seen with several HTTP statuses, so they decide before the status does.
_TOO_MANY_AT_A_TIME = frozenset({"concurrent_limit_exceeded", "too_many_concurrent_requests"})
_COME_BACK_LATER = _TOO_MANY_AT_A_TIME | {"rate_limit_exceeded", "system_busy"}
_CALL_THE_OPERATOR = frozenset({"quota_exceeded", "invalid_api_key"})


class ApiUnavailableError(VendorUnavailableError):
    """ElevenLabs did not answer, or asked to be left alone. `status` is None where no answer came; `is_full` says
    that it has as many sessions or requests of ours as it takes at a time.
    """

    def __init__(self, message: str, *, status: int | None, is_full: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.is_full = is_full


class UnexpectedAnswerError(ApiUnavailableError):
    """An answer lacks what it must have. `field` is the path of what is missing or wrong."""

    def __init__(self, field: str) -> None:
        super().__init__(f"unexpected answer: no usable {field}", status=None)
        self.field = field


class ApiRefusedError(VendorRefusedError):
    """ElevenLabs refused, and will again."""


def sentence(text: str) -> str:
    """A vendor's words, fit for a log and the operator: one line of at most 300 characters, without secrets
    and with phone numbers masked.
    """
    line = " ".join(_SECRETS.sub("[secret]", text[: 4 * _SENTENCE_MAX]).split())
    return mask_text(line)[:_SENTENCE_MAX]


@frozen(kw_only=True)
class Problem:
    """A refused request.

    Attributes:
        code: ElevenLabs' own word for it; empty when it gave none.
    """

    status: int
    code: str = ""
    message: str = ""
    retry_after_s: float | None = None

    @property
    def is_refusal(self) -> bool:
        """Asking again unchanged will not help."""
        if self.code in _COME_BACK_LATER:
            return False
        if self.code in _CALL_THE_OPERATOR:
            return True
        return 400 <= self.status < 500 and self.status not in {408, 425, 429}

    @property
    def is_full(self) -> bool:
        return self.code in _TOO_MANY_AT_A_TIME

    @property
    def is_unknown_path(self) -> bool:
        """The URL is wrong, as opposed to the id in it."""
        return self.status == 404 and not self.code and self.message == "Not Found"

    @property
    def sentence(self) -> str:
        words = [f"HTTP {self.status}"]
        if self.code:
            words.append(self.code)
        line = " ".join(words)
        if self.message:
            line = f"{line}: {self.message}"
        if self.retry_after_s is not None:
            line = f"{line} (retry after {self.retry_after_s:g} s)"
        return line

    def error(self) -> ApiUnavailableError | ApiRefusedError:
        if self.is_refusal:
            return ApiRefusedError(self.sentence, status=self.status)
        return ApiUnavailableError(self.sentence, status=self.status, is_full=self.is_full)


def read_problem(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """Read any of the API's error shapes: `detail` as an object, as a list of validation errors, as text,
    or something else altogether, which a proxy may send. The names of `headers` are in lower case.
    """
    code, message = _code_and_message(_detail(body))
    return Problem(
        status=status,
        code=sentence(code),
        message=sentence(message),
        retry_after_s=_seconds(headers.get("retry-after")),
    )


def _detail(body: bytes) -> Any:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer.get("detail") if isinstance(answer, dict) else None


def _code_and_message(detail: Any) -> tuple[str, str]:
    match detail:
        case str():
            return "", detail
        case dict():
            # Older errors carry `status` alone.
            code = detail.get("code") or detail.get("status")
            message = detail.get("message")
            return code if isinstance(code, str) else "", message if isinstance(message, str) else ""
        case [*entries]:
            return "", "; ".join(_validation(entry) for entry in entries[:5] if isinstance(entry, dict))
        case _:
            return "", ""


def _validation(entry: dict[str, Any]) -> str:
    place = entry.get("loc")
    path = ".".join(map(str, place)) if isinstance(place, list) else "?"
    return f"{path}: {entry.get('msg', '?')}"


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None or not re.fullmatch(r"\d{1,6}(?:\.\d{1,6})?", retry_after):
        return None
    return float(retry_after)
