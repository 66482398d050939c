"""One actor per key, started by the first message to it."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import structlog
import trio
from attrs import define

from actors.runtime.mailbox import Mailbox, MailboxFullError
from actors.runtime.supervisor import (
    ChildExit,
    ChildSpec,
    RestartIntensity,
    RestartPolicy,
    RunChild,
    Supervisor,
)

_log = structlog.get_logger(__name__)

M = TypeVar("M")


@define(eq=False)
class _Entry(Generic[M]):
    mailbox: Mailbox[M]
    parked_at: float | None = None


class Registry(Generic[M]):
    """The living actors of one kind, by key.

    A message to a key without an actor starts one. An actor that has nothing left to do just returns;
    a message that arrived while it did is not lost but starts the next one, and there are never two for one
    key. An actor that crashes over its intensity is parked: messages to it are dropped, for what they speak
    of stands in the store, until `release`, or until the first message after `park_s`. `on_parked` is told of
    it, and `on_released` of its end.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        make_run: Callable[[int, Mailbox[M]], RunChild],
        *,
        kind: str,
        mailbox_size: int,
        intensity: RestartIntensity,
        park_s: float,
        on_parked: Callable[[int], None],
        on_released: Callable[[int], None] = lambda _key: None,
    ) -> None:
        self._supervisor = supervisor
        self._make_run = make_run
        self._kind = kind
        self._mailbox_size = mailbox_size
        self._intensity = intensity
        self._park_s = park_s
        self._on_parked = on_parked
        self._on_released = on_released
        self._entries: dict[int, _Entry[M]] = {}
        self._is_closed = False
        self._lot = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return sum(entry.parked_at is None for entry in self._entries.values())

    def __iter__(self) -> Iterator[int]:
        """Keys of the actors that live now."""
        return iter([key for key, entry in self._entries.items() if entry.parked_at is None])

    def __contains__(self, key: int) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.parked_at is None

    async def until_empty(self) -> None:
        """Wait until no actor lives; for a closed registry, which starts no more."""
        while len(self):
            await self._lot.park()

    @property
    def parked(self) -> list[int]:
        return [key for key, entry in self._entries.items() if entry.parked_at is not None]

    def close(self) -> None:
        """Start no more actors; messages are dropped from now on."""
        self._is_closed = True

    def post(self, key: int, message: M) -> bool:
        """Leave a message for the actor of `key`, started if need be.

        False when the message was dropped: the mailbox is full, the actor parked, or the registry closed. Never
        blocks.
        """
        if self._is_closed:
            return False
        entry = self._entries.get(key)
        if entry is not None and entry.parked_at is not None:
            if trio.current_time() < entry.parked_at + self._park_s:
                return False
            self.release(key)
            entry = None
        if entry is None:
            entry = _Entry(Mailbox(self._mailbox_size))
            self._spawn(key, entry)
            self._entries[key] = entry
        try:
            entry.mailbox.post(message)
        except MailboxFullError:
            _log.warning("mailbox full", kind=self._kind, key=key)
            return False
        return True

    def release(self, key: int) -> None:
        """Let a parked actor start again with its next message."""
        entry = self._entries.get(key)
        if entry is not None and entry.parked_at is not None:
            del self._entries[key]
            self._on_released(key)

    def _spawn(self, key: int, entry: _Entry[M]) -> None:
        self._supervisor.spawn(
            ChildSpec(
                name=f"{self._kind} {key}",
                run=self._make_run(key, entry.mailbox),
                policy=RestartPolicy.TRANSIENT,
                kind=self._kind,
                intensity=self._intensity,
                on_exit=lambda exit_: self._gone(key, entry, exit_),
            )
        )

    def _gone(self, key: int, entry: _Entry[M], exit_: ChildExit) -> None:
        if exit_ is ChildExit.PARKED:
            entry.parked_at = trio.current_time()
            self._on_parked(key)
        elif exit_ is ChildExit.ENDED and not entry.mailbox.is_empty and not self._is_closed:
            self._spawn(key, entry)
        else:
            del self._entries[key]
        self._lot.unpark_all()
