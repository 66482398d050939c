"""What happened in a world, step by step."""

import hashlib
from collections.abc import Iterator

import trio
from attrs import define, field, frozen
from typing_extensions import override


@frozen
class Event:
    """`at` is virtual time; a `is_quiet` one changed nothing and is left out of reports."""

    at: float
    what: str
    about: tuple[object, ...]
    is_quiet: bool

    @override
    def __str__(self) -> str:
        return f"{self.at:9.3f}  {self.what}" + "".join(f"  {thing}" for thing in self.about)


@define
class Trace:
    events: list[Event] = field(factory=list)

    def note(self, what: str, *about: object, is_quiet: bool = False) -> None:
        """`about` must look the same in every run of a seed."""
        self.events.append(Event(trio.current_time(), what, about, is_quiet))

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    @property
    def digest(self) -> str:
        """Equal for two runs with the same events at the same times in the same order."""
        return hashlib.sha256("\n".join(map(str, self.events)).encode()).hexdigest()

    def last(self, count: int) -> list[Event]:
        return [event for event in self.events if not event.is_quiet][-count:]
