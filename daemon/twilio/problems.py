"""What an answer of Twilio's that is no success means, and a question without an answer."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio
from attrs import frozen
from twilio.base.exceptions import (  # type: ignore[import-untyped]
    TwilioException,
    TwilioRestException,
    TwilioServiceException,
)
from typing_extensions import override

from actors.ports import VendorRefusedError, VendorUnavailableError
from daemon.twilio.transport import TransportError

NO_SUCH_RESOURCE: Final = 20404
_INTERNAL_ERROR: Final = 20500

_DETAIL_MAX: Final = 300
_PREFIX: Final = re.compile(r"Unable to \w+ record: ")
_NUMBER_BUT_ITS_END: Final = re.compile(r"\d{3,}(?=\d{4})")


@frozen(kw_only=True)
class Problem:
    """An answer that is no success.

    Attributes:
        status: the HTTP status; 500 where it cannot be read.
        code: Twilio's error code, the HTTP status without one.
        detail: Twilio's sentence, phone numbers in it masked.
    """

    status: int
    code: int
    detail: str

    @property
    def is_inside_twilio(self) -> bool:
        """It may have come after what was asked for had been done, whatever the code says."""
        return self.status >= 500 or self.status == 408 or self.code == _INTERNAL_ERROR

    @override
    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def problem_of(error: TwilioException) -> Problem:
    """What the SDK raises: one class for each of Twilio's two forms of an error, and their base class, with the response
    as second argument, for a page of a list.
    """
    if isinstance(error, TwilioRestException):
        return _problem(error.status, error.code, error.msg)
    if isinstance(error, TwilioServiceException):
        return _problem(error.status, error.code, error.detail or error.title)
    status = getattr(error.args[1], "status_code", None) if len(error.args) > 1 else None
    return _problem(status, None, error.args[0] if error.args else "no answer")


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Failures of a question, as the ports name them; `what` begins the sentence, as in "the calls".

    Raises:
        VendorUnavailableError, VendorRefusedError: for everything that the block may raise about its answer.
    """
    try:
        yield
    except (TransportError, trio.TooSlowError) as error:
        raise VendorUnavailableError(f"{what} could not be read: {error}".rstrip(": ")) from error
    except TwilioException as error:
        problem = problem_of(error)
        sentence = f"{what} could not be read: HTTP {problem.status}, {problem}"
        # A redirect comes from something that stands between Twilio and us.
        if problem.is_inside_twilio or not 400 <= problem.status < 500:
            raise VendorUnavailableError(sentence) from error
        raise VendorRefusedError(sentence, status=problem.status) from error
    except json.JSONDecodeError as error:
        raise VendorUnavailableError(f"{what} could not be read: no answer of Twilio's") from error


def _problem(status: object, code: object, detail: object) -> Problem:
    http = _number(status, default=500)
    # A person's number in it is masked by the shape of its digits: Twilio writes numbers in many ways.
    text = _NUMBER_BUT_ITS_END.sub("…", _PREFIX.sub("", str(detail), count=1)[:_DETAIL_MAX])
    return Problem(status=http, code=_number(code, default=http), detail=text)


def _number(value: object, *, default: int) -> int:
    try:
        return int(str(value))
    except ValueError:
        return default
