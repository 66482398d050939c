"""Rules for settings in documents of JSON: what stands there, what should, and the patch that mends it. Pure."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import frozen

from daemon.elevenlabs.fields import Record

Wants: TypeAlias = Callable[[Any], Any]
"""From what stands at a place (None for nothing) to what should; the same again where that is right."""

Judges: TypeAlias = Callable[[Any], bool]
"""Whether what stands at a place, which is not as it should be, keeps every talk from being one."""


@frozen(kw_only=True)
class Difference:
    """A setting that is not as it should be.

    Attributes:
        path: where it stands, outermost name first.
        has: None where there is nothing.
        why: what happens otherwise.
        is_vital: no talk with the agent comes about, or none that anybody would call one.
        is_by_hand: for the operator to mend; what to do stands in `wants`.
    """

    path: tuple[str, ...]
    has: Any
    wants: Any
    why: str
    is_vital: bool = False
    is_by_hand: bool = False


def never(_: Any) -> bool:
    return False


def always(_: Any) -> bool:
    return True


def lacking(*names: str) -> Judges:
    """A list or an object that lacks one of these."""
    return lambda has: not (isinstance(has, list | dict) and set(names) <= {*filter(_is_text, has)})


@frozen(kw_only=True)
class Rule:
    """One setting; `path` is dotted."""

    path: str
    wants: Wants
    why: str
    is_vital: Judges = never

    def check(self, document: Record) -> Iterator[Difference]:
        path = tuple(self.path.split("."))
        has = _at(document, path)
        wants = self.wants(has)
        if wants != has:
            yield Difference(path=path, has=has, wants=wants, why=self.why, is_vital=self.is_vital(has))


def patch_of(found: Collection[Difference]) -> dict[str, Any]:
    """The body that mends them."""
    body: dict[str, Any] = {}
    for difference in found:
        place = body
        for name in difference.path[:-1]:
            place = place.setdefault(name, {})
        place[difference.path[-1]] = difference.wants
    return body


def merged(document: Record, patch: Record) -> dict[str, Any]:
    """The document once it is patched: objects are merged, everything else is replaced."""
    result = dict(document)
    for name, value in patch.items():
        known = result.get(name)
        result[name] = (
            merged(known if isinstance(known, dict) else {}, value) if isinstance(value, dict) else value
        )
    return result


# --- What may be wanted ---------------------------------------------------------------------------------


def exactly(value: object) -> Wants:
    return lambda _: value


def at_least(least: int, *, unless: int | None = None) -> Wants:
    """A number from `least` up, or the one that stands for no limit."""

    def wants(has: Any) -> Any:
        is_number = isinstance(has, int | float) and not isinstance(has, bool)
        return has if is_number and (has >= least or has == unless) else least

    return wants


def including(*names: str) -> Wants:
    """A list with these; what else the operator has in it stays, in its order."""

    def wants(has: Any) -> Any:
        known = has if isinstance(has, list) else []
        missing = [name for name in names if name not in known]
        return [*known, *missing] if missing else has

    return wants


def having(values: Mapping[str, Any]) -> Wants:
    """An object with these names; what stands under a name already stays."""

    def wants(has: Any) -> Any:
        known = has if isinstance(has, dict) else {}
        return {**values, **known} if values.keys() - known.keys() else has

    return wants


def present(value: object) -> Wants:
    """Whatever object stands there, else this one."""
    return lambda has: has if isinstance(has, dict) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _at(document: Record, path: Sequence[str]) -> Any:
    place: Any = document
    for name in path:
        place = place.get(name) if isinstance(place, dict) else None
    return place
