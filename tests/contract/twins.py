"""One database in memory and one in PostgreSQL that go through the same steps, and must look the same after each.

Ids differ: PostgreSQL leaves gaps where an insert met a row that was there. What is the same row is learned where
both tell of it first, and from then on an id of one stands for exactly one id of the other.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias, TypeGuard, TypeVar

import attrs
import trio
from attrs import define, field, frozen

from actors.live_call.ports import AwaitedRecording, LiveCall, UndeletedRecording
from tests.contract.stores import Stores

T = TypeVar("T")
Ask: TypeAlias = Callable[["Side"], Awaitable[T]]

# By the name of the attribute that holds it; an `id` that is a number is a message's, unless its class tells another.
_KINDS: Final = {
    "id": "message",
    "person_id": "person",
    "conversation_id": "conversation",
    "live_call_id": "live call",
    "pseudonym": "pseudonym",
}
_KINDS_BY_CLASS: Final[Mapping[type[object], str]] = {
    LiveCall: "live call",
    AwaitedRecording: "recording",
    UndeletedRecording: "recording",
}


@frozen
class Side:
    """One of the two. `ids` gives this side's id for one of the memory's."""

    stores: Stores
    ids: Mapping[tuple[str, int], int] | None = None

    def person(self, memory_id: int) -> int:
        return self._id("person", memory_id)

    def conversation(self, memory_id: int) -> int:
        return self._id("conversation", memory_id)

    def message(self, memory_id: int) -> int:
        return self._id("message", memory_id)

    def live_call(self, memory_id: int) -> int:
        return self._id("live call", memory_id)

    def recording(self, memory_id: int) -> int:
        return self._id("recording", memory_id)

    def _id(self, kind: str, memory_id: int) -> int:
        return memory_id if self.ids is None else self.ids[kind, memory_id]


@define
class Twins:
    """To be used from a thread that trio started."""

    memory: Stores
    postgres: Stores
    _there: dict[tuple[str, object], object] = field(factory=dict, init=False)
    _back: dict[tuple[str, object], object] = field(factory=dict, init=False)

    def ask(self, ask: Ask[T], kind: str = "") -> T:
        """What both answer, with the ids of the memory. `kind` is that of ids in an answer that is a bare list of them.

        Raises:
            AssertionError: they do not answer the same.
        """
        one = trio.from_thread.run(ask, Side(self.memory))
        other = trio.from_thread.run(ask, Side(self.postgres, self._there))  # type: ignore[arg-type]
        self._compare(one, other, kind, "answer")
        return one

    def _compare(self, one: object, other: object, kind: str, path: str) -> None:
        shape: type[object] = type(one)
        if attrs.has(shape):
            assert shape is type(other), f"{path}: {one!r} and {other!r}"
            for name in attrs.fields_dict(shape):
                mine, theirs = getattr(one, name), getattr(other, name)
                kind = _KINDS_BY_CLASS.get(shape, "") if name == "id" else ""
                self._compare(mine, theirs, kind or _KINDS.get(name, ""), f"{path}.{name}")
        elif _is_list(one) and _is_list(other):
            assert len(one) == len(other), f"{path}: {one!r} and {other!r}"
            for place, (mine, theirs) in enumerate(zip(one, other, strict=True)):
                self._compare(mine, theirs, kind, f"{path}[{place}]")
        elif kind == "pseudonym" or (kind and isinstance(one, int) and isinstance(other, int)):
            self._pair(one, other, kind, path)
        else:
            assert one == other, f"{path}: {one!r} and {other!r}"

    def _pair(self, one: object, other: object, kind: str, path: str) -> None:
        there = self._there.setdefault((kind, one), other)
        back = self._back.setdefault((kind, other), one)
        assert (there, back) == (other, one), f"{path}: {kind} {one} is {there}, not {other}"


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
