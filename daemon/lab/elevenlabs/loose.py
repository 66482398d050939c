"""Reading JSON of which only the outermost shape is known."""

from collections.abc import Mapping
from typing import Any


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one: clients may send null, or anything."""
    return value if isinstance(value, dict) else {}
