"""What a person at a telephone does, as a script."""

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final

from attrs import Attribute, Factory, define, field, frozen
from attrs.validators import optional

from daemon.lab.twilio.voice.moments import read_wish


def _moment(_: object, __: "Attribute[str]", text: str) -> None:
    """Refuse a moment that would never come."""
    read_wish(text)


class Answers(Enum):
    """Who picks up.

    `SILENT` lets it ring, `REFUSING` lets it ring and declines, `UNREACHABLE` is a number that does not exist.
    """

    PERSON = "person"
    MACHINE = "machine"
    BUSY = "busy"
    SILENT = "silent"
    REFUSING = "refusing"
    UNREACHABLE = "unreachable"


@frozen(kw_only=True)
class Step:
    """One thing a person does: wait for a moment, then for so long, then speak, press and hang up, what of it is given.

    Attributes:
        at: a moment of the books (`gather`, `joined`, …), see `docs/lab.md`. `say:acepta` waits for one whose detail
            contains that, whatever the case, and `answered@+52…` for one on the leg of another number. A moment counts
            from the step before on.
        wait_s: seconds from the moment, or from the step before.
        say: what is said; the person goes on when it is said.
        say_s: how long it takes; None goes by the letters.
        press: keys, one after the other; a `w` waits half a second.
    """

    at: str | None = field(default=None, validator=optional(_moment))
    wait_s: float = 0.0
    say: str | None = None
    say_s: float | None = None
    press: str | None = None
    hang_up: bool = False


@frozen(kw_only=True)
class Script:
    """A person for the length of one call. The steps of a caller begin when he dials, of others when they answer.

    Attributes:
        answer_at: a moment for which the telephone rings at least, as in `Step.at`.
        answer_after_s: from the moment, else from the first ring; also until somebody is busy or declines.
        greeting: what a machine says first; then it beeps, records, and hangs up.
        hang_up_after_s: seconds after the answer; None stays until the other side ends it.
    """

    answers: Answers = Answers.PERSON
    answer_at: str | None = field(default=None, validator=optional(_moment))
    answer_after_s: float = 1.0
    steps: Sequence[Step] = ()
    greeting: str = "No puedo atender su llamada. Deje su mensaje después del tono."
    hang_up_after_s: float | None = None


MACHINE_RECORDS_S: Final = 30.0


@define(eq=False)
class Line:
    """Who answers at a number: one script a call, the last of them for all further calls."""

    scripts: deque[Script] = field(factory=deque)

    def next(self) -> Script:
        if not self.scripts:
            return Script()
        return self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]


@define(eq=False)
class Lines:
    """The telephones of the world, by number. Nobody told about a number: a person answers it after a second."""

    _lines: dict[str, Line] = Factory(dict)

    def script(self, number: str, *scripts: Script) -> None:
        """Say who answers at a number, call by call, in place of what was said before."""
        self._lines[number] = Line(deque(scripts))

    def next(self, number: str) -> Script:
        line = self._lines.get(number)
        return line.next() if line is not None else Script()

    def clear(self) -> None:
        self._lines.clear()
