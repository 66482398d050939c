"""Things that need a person's eye, as the status shows them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from attrs import define, evolve, field, frozen

from actors.ports import WallClock

_log = structlog.get_logger(__name__)


@frozen(kw_only=True)
class Alert:
    """One state of affairs that is wrong. `since` is ISO 8601, UTC; `count` tells how often it was raised."""

    key: str
    text: str
    since: str
    count: int


@define
class Alerts:
    """Alerts by key. Raising a key again counts; at `limit` keys the oldest gives way."""

    clock: WallClock
    limit: int = 100
    _standing: dict[str, Alert] = field(factory=dict, init=False)

    def raise_alert(self, key: str, text: str) -> None:
        standing = self._standing.pop(key, None)
        if standing is None:
            _log.warning("alert raised", alert=key, detail=text)
            since, count = self.clock.now().isoformat(timespec="seconds"), 1
        else:
            since, count = standing.since, standing.count + 1
        self._standing[key] = Alert(key=key, text=text, since=since, count=count)
        while len(self._standing) > self.limit:
            del self._standing[next(iter(self._standing))]

    def keep(self, key: str, text: str) -> None:
        """The alert stands, with this text; that counts only where it did not stand before."""
        standing = self._standing.get(key)
        if standing is None:
            self.raise_alert(key, text)
        else:
            self._standing[key] = evolve(standing, text=text)

    def settle(self, key: str) -> None:
        """What the alert was about is over; without the alert nothing happens."""
        if self._standing.pop(key, None) is not None:
            _log.info("alert settled", alert=key)

    @contextmanager
    def while_failing(self, key: str, problem: str, *failures: type[Exception]) -> Iterator[None]:
        """The alert stands from when the block fails with one of `failures`, which ends here, until it succeeds."""
        try:
            yield
        except failures as failure:
            self.raise_alert(key, f"{problem}: {failure}")
        else:
            self.settle(key)

    @property
    def standing(self) -> Sequence[Alert]:
        return list(self._standing.values())
