"""Reading fields of decoded JSON that may hold anything."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from daemon.elevenlabs.problems import UnexpectedAnswerError

Record: TypeAlias = Mapping[str, Any]

_DEPTH_MAX = 20
_INT4_MAX = 2**31 - 1


def storable(text: str) -> str:
    """The text without NUL and lone surrogates: JSON can carry them, UTF-8 and PostgreSQL cannot."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def storable_value(value: Any, depth: int = 0) -> object:
    """The same for any JSON. What is nested deeper than anybody means it, and numbers that are none, are None."""
    if depth > _DEPTH_MAX:
        return None
    match value:
        case str():
            return storable(value)
        case list():
            return [storable_value(item, depth + 1) for item in value]
        case dict():
            return {storable(name): storable_value(item, depth + 1) for name, item in value.items()}
        case float() if not math.isfinite(value):
            # Python reads `1e999` and `NaN` out of JSON; PostgreSQL's takes neither.
            return None
        case _:
            return value


def whole_number(value: Any) -> int | None:
    """A whole number that an `integer` column takes, also out of a string; None for anything else."""
    number = _integer(value)
    return number if number is not None and abs(number) <= _INT4_MAX else None


def _integer(value: Any) -> int | None:
    if type(value) is int:
        return value
    if not isinstance(value, str | float):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def text(record: Record, name: str) -> str | None:
    """A string that is not empty, storable; None for anything else."""
    value = record.get(name)
    return storable(value) or None if isinstance(value, str) else None


def required_text(record: Record, name: str, path: str = "") -> str:
    value = text(record, name)
    if value is None:
        raise _missing(name, path)
    return value


def part(record: Record, name: str) -> Record:
    """An object inside; an empty one where there is none."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def items(record: Record, name: str) -> list[Record]:
    """The objects of a list inside."""
    value = record.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def optional_moment(record: Record, name: str) -> datetime | None:
    """A moment in Unix seconds."""
    seconds = _integer(record.get(name))
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def moment(record: Record, name: str, path: str = "") -> datetime:
    value = optional_moment(record, name)
    if value is None:
        raise _missing(name, path)
    return value


def _missing(name: str, path: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(f"{path}.{name}" if path else name)
