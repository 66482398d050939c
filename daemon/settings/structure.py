"""From TOML values to a table's class: types, rules, unknown keys."""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from daemon.settings.environment import VARIABLES, how_to_set_secret, secret_meant_by
from daemon.settings.problems import Flaw, UnfitError, printable, show

_Structure = Callable[[Any, Any], Any]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TEXT_CONTROLS = frozenset("\n\r\t")


def structure_table(raw: object, table: type, name: str) -> tuple[object | None, Sequence[Flaw]]:
    """The table, or everything that is wrong with it."""
    try:
        return _CONVERTER.structure(raw, table), ()
    except (ClassValidationError, UnfitError) as error:
        return None, list(_flaws_in(error, name, raw))


def unknown_key(path: tuple[str, ...], value: object, siblings: Mapping[str, Any]) -> Iterator[Flaw]:
    """A key that no setting has: a secret, a slip of the pen, or something of another program.

    `siblings`: what is known at this place, by name.
    """
    secret = secret_meant_by(path)
    if secret is not None:
        yield Flaw(
            key=_spelled(path), sentence="a secret never stands in this file", mend=how_to_set_secret(secret)
        )
        return
    if len(path) == 1 and isinstance(value, dict):
        secrets = [name for name in value if secret_meant_by((*path, name))]
        for name in secrets:
            yield from unknown_key((*path, name), None, {})
        if secrets and len(secrets) == len(value):
            return
    yield Flaw(key=_spelled(path), sentence="there is no such setting", mend=_meant(path, siblings))


def default_of(key: str, tables: Mapping[str, type]) -> str:
    """A clause that names the default of a setting; empty where that would say nothing."""
    table, _, name = key.partition(".")
    attribute = attrs.fields_dict(tables[table]).get(name) if table in tables else None
    default = attribute.default if attribute is not None else attrs.NOTHING
    if default == "" or default is attrs.NOTHING or not isinstance(default, str | int | float | Path):
        return ""
    shown = show(str(default) if isinstance(default, Path) else default)
    return f"; the default is {shown.removesuffix('.0')}"


def _flaws_in(error: Exception, key: str, raw: object) -> Iterator[Flaw]:
    match error:
        case ClassValidationError():
            inner, others = error.group_exceptions()
            for one, note in inner:
                yield from _flaws_in(one, f"{key}.{note.name}", _at(raw, note.name))
            for other in others:
                yield from _flaws_in(other, key, raw)
        case IterableValidationError():
            for one, index in _indexed(error):
                yield from _flaws_in(one, f"{key}{_subscript(index)}", _at(raw, index))
        case ForbiddenExtraKeysError():
            known = {attribute.name: attribute for attribute in attrs.fields(error.cl)}
            for name in sorted(error.extra_fields):
                yield from unknown_key((key, name), _at(raw, name), known)
        case KeyError():
            yield Flaw(key=key, sentence="is required and not set", mend="add it")
        case UnfitError():
            yield Flaw(key=key, sentence=str(error), mend=error.mend)
        case _:
            raise error


def _indexed(error: IterableValidationError) -> Iterator[tuple[Exception, int | str]]:
    inner, others = error.group_exceptions()
    if others:
        raise others[0]
    for one, note in inner:
        yield one, note.index


def _at(raw: object, index: int | str) -> object:
    if isinstance(raw, dict):
        return raw.get(index)
    return raw[index] if isinstance(raw, list) and isinstance(index, int) else None


def _subscript(index: int | str) -> str:
    return f"[{index}]" if isinstance(index, int) else f".{_spelled((index,))}"


def _spelled(path: Sequence[str]) -> str:
    # The first part may be a path already, such as transfer.advisors[0].
    first, *rest = path
    parts = [first if rest else _quoted(first), *map(_quoted, rest)]
    return ".".join(parts)


def _quoted(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else printable(json.dumps(name, ensure_ascii=False))


def _meant(path: tuple[str, ...], siblings: Mapping[str, Any]) -> str:
    if path[-1] in VARIABLES:
        return f"write it as {VARIABLES[path[-1]]}"
    close = get_close_matches(path[-1], siblings, n=1)
    if close:
        return f"perhaps {'.'.join([*path[:-1], close[0]])} is meant"
    return "remove it" if not siblings else f"remove it; known here: {', '.join(sorted(siblings))}"


def _refuse(expected: str, value: object) -> UnfitError:
    return UnfitError(f"expected {expected}, got {show(value)}")


def _integer(value: object, _: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _refuse("an integer", value)


def _number(value: object, _: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise _refuse("a number", value)


def _boolean(value: object, _: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _refuse("true or false", value)


def _text(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise _refuse("a text", value)
    for character in value:
        if character not in _TEXT_CONTROLS and unicodedata.category(character) in {"Cc", "Cs"}:
            raise UnfitError(f"the text holds the control character U+{ord(character):04X}")
    return value


def _path(value: object, _: object) -> Path:
    text = _text(value, str).strip()
    if not text:
        raise UnfitError("must not be empty")
    return Path(text)


def _literal_hook(type_: Any) -> _Structure:
    choices = get_args(type_)
    expected = "one of " + ", ".join(map(show, choices))

    def structure(value: object, _: object) -> object:
        if value in choices:
            return value
        raise _refuse(expected, value)

    return structure


def _annotated_hook(type_: Any, converter: cattrs.Converter) -> _Structure:
    plain, *rules = get_args(type_)
    structure_plain = converter.get_structure_hook(plain)

    def structure(value: object, _: object) -> object:
        result = structure_plain(value, plain)
        for rule in rules:
            result = rule(result)
        return result

    return structure


def _class_hook(type_: type, converter: cattrs.Converter) -> _Structure:
    structure_fields: Any = make_dict_structure_fn(
        type_, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )

    def structure(value: object, _: object) -> object:
        if not isinstance(value, dict):
            raise _refuse("a table", value)
        return structure_fields(value, type_)

    return structure


def _sequence_hook(type_: Any, converter: cattrs.Converter) -> _Structure:
    (item,) = get_args(type_)

    def structure(value: object, _: object) -> object:
        if not isinstance(value, list):
            raise _refuse("a list", value)
        return tuple(converter.structure(value, list[item]))  # type: ignore[valid-type]

    return structure


def _mapping_hook(type_: Any, converter: cattrs.Converter) -> _Structure:
    key, item = get_args(type_)

    def structure(value: object, _: object) -> object:
        if not isinstance(value, dict):
            raise _refuse("a table", value)
        return converter.structure(value, dict[key, item])  # type: ignore[valid-type]

    return structure


def _is_generic(origin: Any) -> Callable[[Any], bool]:
    return lambda type_: get_origin(type_) is origin


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    for type_, hook in ((int, _integer), (float, _number), (bool, _boolean), (str, _text), (Path, _path)):
        converter.register_structure_hook(type_, hook)
    converter.register_structure_hook_factory(_is_generic(Literal), _literal_hook)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    converter.register_structure_hook_factory(_is_generic(Sequence), _sequence_hook)
    converter.register_structure_hook_factory(_is_generic(Mapping), _mapping_hook)
    # The last one registered is asked first, and Annotated looks like what it annotates to some of the others.
    converter.register_structure_hook_factory(_is_generic(Annotated), _annotated_hook)
    return converter


_CONVERTER: Final = _make_converter()
