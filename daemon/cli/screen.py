"""What strangers wrote, on an operator's terminal: shown, never obeyed."""

import sys
from typing import Any, Final

from rich.console import Console
from rich.text import Text

_PIPED_COLUMNS: Final = 10_000
"""For whom a program reads, a line is a row and no column is cut."""


def open_console() -> Console:
    """Takes no markup: a customer's name may look like some. What is styled is a `Text`.

    As wide as the terminal; without one as wide as what it prints.
    """
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _PIPED_COLUMNS)


def styled(text: str, style: str) -> Text:
    return Text(text, style=style)


def printable(value: Any) -> Any:
    """A JSON value without characters that a terminal would obey; line breaks stay."""
    if isinstance(value, str):
        return "".join(character for character in value if character.isprintable() or character == "\n")
    if isinstance(value, list):
        return [printable(inner) for inner in value]
    if isinstance(value, dict):
        return {key: printable(inner) for key, inner in value.items()}
    return value
