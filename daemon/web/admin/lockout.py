"""Who has guessed wrong too often, and how long he waits. Pure: times are monotonic seconds that the caller gives.

What keeps an attacker from locking the operator out for good:

- A lock is for one address. The lock for everybody, against guesses from many addresses, spares those from which
  the right token has come before.
- A try during a lock is not looked at, and makes no lock longer.
- On this machine itself (`Peer.is_local`) a lock refuses wrong tokens only: who can reach the loopback address without
  a proxy is on the machine already, and there the operator must always get in.
"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network

from attrs import define, field, frozen

LOCAL = "this machine"
UNKNOWN = "unknown"


@frozen
class Peer:
    """Where a request comes from: an address, for IPv6 the /64 that one household or server has."""

    name: str
    is_local: bool = False

    @classmethod
    def of(cls, address: str | None, *, forwarded_for: str | None, is_forwarded: bool) -> "Peer":
        """The peer of a request that came from `address`.

        Only a proxy on this machine is believed, and only what it wrote itself: the last address of
        `forwarded_for` (X-Forwarded-For). `is_forwarded` tells that some proxy has left its mark.
        """
        name = _network(address)
        if not (name.startswith("127.") or name == LOCAL):
            return cls(name)
        if not is_forwarded:
            return cls(LOCAL, is_local=True)
        return cls(_network((forwarded_for or "").rpartition(",")[2].strip()))


def _network(address: str | None) -> str:
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return UNKNOWN
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return LOCAL if parsed.is_loopback else str(ip_network((parsed, 64), strict=False))


@frozen(kw_only=True)
class LockoutRules:
    """When tries are refused, and for how long.

    Attributes:
        tries_max: wrong tries of one address before its first lock.
        all_tries_max: wrong tries of all addresses before the first lock for everybody.
        first_lock_s: the first lock; each further wrong try doubles it.
        lock_max_s: the longest lock.
        forget_after_s: wrong tries are forgotten that long after the last one, or after its lock.
        peers_max: addresses that are remembered; at the limit the one that was quiet longest is forgotten.
    """

    tries_max: int = 10
    all_tries_max: int = 50
    first_lock_s: float = 30.0
    lock_max_s: float = 900.0
    forget_after_s: float = 900.0
    peers_max: int = 1000


@define
class _Record:
    failures: int = 0
    quiet_from: float = 0.0
    locked_until: float = 0.0


@define
class Lockout:
    rules: LockoutRules
    _peers: OrderedDict[str, _Record] = field(factory=OrderedDict, init=False)
    _welcome: OrderedDict[str, None] = field(factory=OrderedDict, init=False)
    _all: _Record = field(factory=_Record, init=False)

    def __len__(self) -> int:
        return len(self._peers) + len(self._welcome)

    def wait_s(self, peer: Peer, *, now: float) -> float:
        """How long this peer is locked from now on; 0 when it is not."""
        until = self._known(peer, now).locked_until
        if peer.name not in self._welcome:
            until = max(until, self._all.locked_until)
        return max(0.0, until - now)

    def failed(self, peer: Peer, *, now: float) -> float:
        """An unlocked peer's token was wrong; the length of the lock that begins with it, 0 for none."""
        record = self._known(peer, now)
        self._peers[peer.name] = record
        self._peers.move_to_end(peer.name)
        while len(self._peers) > self.rules.peers_max:
            self._peers.popitem(last=False)
        own_s = self._count(record, self.rules.tries_max, now)
        if self._is_over(self._all, now):
            self._all = _Record()
        return max(own_s, self._count(self._all, self.rules.all_tries_max, now))

    def succeeded(self, peer: Peer) -> None:
        """The peer has the token: what it did wrong is forgotten, and the lock for everybody spares it."""
        self._peers.pop(peer.name, None)
        self._welcome[peer.name] = None
        self._welcome.move_to_end(peer.name)
        while len(self._welcome) > self.rules.peers_max:
            self._welcome.popitem(last=False)

    def is_calm(self, *, now: float) -> bool:
        """Nobody has guessed lately."""
        return self._is_over(self._all, now) and all(
            self._is_over(record, now) for record in self._peers.values()
        )

    def _known(self, peer: Peer, now: float) -> _Record:
        record = self._peers.get(peer.name)
        return _Record() if record is None or self._is_over(record, now) else record

    def _count(self, record: _Record, tries_max: int, now: float) -> float:
        rules = self.rules
        record.failures += 1
        lock_s = 0.0
        if record.failures >= tries_max:
            # Beyond thirty doublings any first lock is the longest one.
            doublings = min(record.failures - tries_max, 30)
            lock_s = min(rules.first_lock_s * 2.0**doublings, rules.lock_max_s)
            record.locked_until = now + lock_s
        record.quiet_from = now + lock_s + rules.forget_after_s
        return lock_s

    @staticmethod
    def _is_over(record: _Record, now: float) -> bool:
        return now >= record.quiet_from
