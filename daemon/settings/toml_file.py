"""A TOML file, or one sentence that says where it stops being one."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.settings.problems import UnfitError, printable

_AT_LINE = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)", re.DOTALL)
_AT_END = " (at end of document)"


def read_toml(path: Path) -> Mapping[str, Any]:
    """The file's tables.

    Raises:
        FileNotFoundError: there is no such file.
        UnfitError: it cannot be read, or is no TOML.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        sentence = f"the file cannot be read ({error.strerror})"
        raise UnfitError(sentence, mend="name a file that this user may read") from None
    except UnicodeDecodeError as error:
        raise UnfitError(f"byte {error.start + 1} is no UTF-8", mend="save the file as UTF-8") from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UnfitError("is nested too deeply", mend="no setting needs more than a list of tables") from None
    # Not only TOMLDecodeError: an integer of five thousand digits raises a plain one.
    except ValueError as error:
        raise UnfitError(_position_first(str(error), text), mend="see https://toml.io") from None


def _position_first(message: str, text: str) -> str:
    match = _AT_LINE.fullmatch(message)
    if match:
        what, line, column = match["what"], int(match["line"]), int(match["column"])
    elif message.endswith(_AT_END):
        lines = text.split("\n")
        what, line, column = message.removesuffix(_AT_END), len(lines), len(lines[-1]) + 1
    else:
        return f"is no valid TOML: {message}"
    return printable(f"line {line}, column {column}: {what}")
