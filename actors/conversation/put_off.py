"""Messages whose turn was given up lately. Pure; times are monotonic seconds."""

from collections.abc import Collection

from attrs import field, frozen


@frozen
class PutOff:
    """They are not tried again `until` then, unless something new comes."""

    message_ids: frozenset[int] = frozenset()
    until: float = field(default=0.0, kw_only=True)

    def covers(self, pending_ids: Collection[int], now: float) -> bool:
        return now < self.until and self.message_ids.issuperset(pending_ids)
