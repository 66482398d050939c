"""What can be wrong with the settings, and how it is told."""

import json
from collections.abc import Sequence
from datetime import date, time

from attrs import frozen

_SHOWN_MAX_CHARACTERS = 60
_SHOWN_MAX_INTEGER = 10**18


@frozen(kw_only=True)
class Problem:
    """One thing that keeps the settings from being used.

    Attributes:
        key: path such as `http.port` or `transfer.advisors[0].phone`, or the name of a secret; empty when
            the file as a whole is meant.
        sentence: what is wrong; never shows a secret.
        source: where the value came from; empty when there is none.
        mend: what to do about it.
    """

    key: str
    sentence: str
    source: str
    mend: str

    @property
    def headline(self) -> str:
        return f"{self.key or self.source}: {self.sentence}"


@frozen(kw_only=True)
class Flaw:
    """A `Problem` before anybody has asked where the value came from. An empty `mend`: the usual one."""

    key: str
    sentence: str
    mend: str = ""


class SettingsError(Exception):
    """The settings cannot be used. Carries every problem; its text is the whole report."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n\n".join([_count(len(self.problems)), *map(_paragraph, self.problems)]))


class UnfitError(ValueError):
    """A value breaks its rule. The text is the sentence of the `Problem` to be."""

    def __init__(self, sentence: str, *, mend: str = "") -> None:
        super().__init__(sentence)
        self.mend = mend


def show(value: object) -> str:
    """A TOML value as a person would write it, on one line, kept short. Not for secrets."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() if abs(value) > _SHOWN_MAX_INTEGER:
            return "a huge integer"
        case dict():
            return "a table"
        case list() | tuple():
            return "a list"
        case date() | time():
            return value.isoformat()
        case str():
            cut = value if len(value) <= _SHOWN_MAX_CHARACTERS else f"{value[:_SHOWN_MAX_CHARACTERS]}…"
            return printable(json.dumps(cut, ensure_ascii=False))
        case _:
            return str(value)


def printable(text: str) -> str:
    """The text without lone surrogates, which stand for bytes that are no UTF-8 and cannot be printed."""
    return text.encode("utf-8", "backslashreplace").decode()


def _count(number: int) -> str:
    return "1 problem in the settings" if number == 1 else f"{number} problems in the settings"


def _paragraph(problem: Problem) -> str:
    lines = [problem.headline]
    if problem.key and problem.source:
        lines.append(f"  source: {problem.source}")
    if problem.mend:
        lines.append(f"  mend: {problem.mend}")
    return "\n".join(lines)
