"""The bodies of the control routes: JSON into the classes that say what may stand in it."""

import json
from enum import Enum
from typing import Any, Final, TypeVar

from attrs import fields
from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError, transform_error
from cattrs.v import format_exception
from quart import request

Wanted = TypeVar("Wanted")


def _scalar(value: Any, _: Any) -> float | int | str:
    if isinstance(value, bool) or not isinstance(value, float | int | str):
        raise TypeError("neither a number nor a string")
    return value


_converter: Final = Converter(forbid_extra_keys=True)
_converter.register_structure_hook(float | int | str, _scalar)


async def read_body(wanted: type[Wanted]) -> Wanted:
    """The request's body.

    Raises:
        ValueError: it is no JSON, or not of that shape.
    """
    text = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    value = json.loads(text)
    # Half a surrogate pair can stand in JSON and in no form: it raises here.
    json.dumps(value, ensure_ascii=False).encode()
    try:
        return _converter.structure(value, wanted)
    except BaseValidationError as error:
        # As one plain exception: Quart on trio takes a group apart to look for handlers of its members.
        raise ValueError("; ".join(transform_error(error, format_exception=_sentence))) from None


def _sentence(error: BaseException, wanted: type | None) -> str:
    """What is wrong with one value, and what may stand there."""
    if isinstance(error, ForbiddenExtraKeysError):
        names = ", ".join(field.name for field in fields(error.cl))
        return f"no such field: {', '.join(sorted(error.extra_fields))}; there are: {names}"
    if isinstance(wanted, type) and issubclass(wanted, Enum) and isinstance(error, ValueError):
        return f"{error}; there are: {', '.join(one.value for one in wanted)}"
    if type(error) is ValueError:
        return str(error)
    return format_exception(error, wanted)
