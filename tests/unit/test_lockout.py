"""Guessing at the admin token: who is locked, for how long, and who never is. Times are made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.web.admin.lockout import LOCAL, UNKNOWN, Lockout, LockoutRules, Peer

RULES = LockoutRules(
    tries_max=3, all_tries_max=6, first_lock_s=10, lock_max_s=60, forget_after_s=100, peers_max=4
)
EVE, ANA = Peer("203.0.113.9"), Peer("198.51.100.7")


@pytest.fixture
def lockout() -> Lockout:
    return Lockout(RULES)


def guess(lockout: Lockout, peer: Peer, times: int, now: float = 0.0) -> list[float]:
    return [lockout.failed(peer, now=now) for _ in range(times)]


def test_a_few_slips_lock_nobody(lockout: Lockout) -> None:
    assert guess(lockout, EVE, 2) == [0, 0]
    assert lockout.wait_s(EVE, now=0) == 0


def test_too_many_lock_that_address_alone(lockout: Lockout) -> None:
    assert guess(lockout, EVE, 3)[-1] == 10
    assert lockout.wait_s(EVE, now=4) == 6
    assert lockout.wait_s(EVE, now=10) == 0
    assert lockout.wait_s(ANA, now=0) == 0


def test_each_further_one_doubles_the_lock_up_to_its_limit(lockout: Lockout) -> None:
    guess(lockout, EVE, 2)
    now, locks = 0.0, []
    for _ in range(5):
        lock_s = lockout.failed(EVE, now=now)
        now += lock_s
        locks.append(lock_s)
    assert locks == [10, 20, 40, 60, 60]


def test_the_right_token_wipes_the_slate(lockout: Lockout) -> None:
    guess(lockout, EVE, 2)
    lockout.succeeded(EVE)
    assert guess(lockout, EVE, 2) == [0, 0]


def test_what_is_long_past_is_forgotten(lockout: Lockout) -> None:
    guess(lockout, EVE, 3)
    assert not lockout.is_calm(now=109)
    assert lockout.is_calm(now=110)
    assert guess(lockout, EVE, 2, now=110) == [0, 0]


def test_guesses_from_many_addresses_lock_everybody_but_those_who_had_the_token(lockout: Lockout) -> None:
    lockout.succeeded(ANA)
    for number in range(6):
        lockout.failed(Peer(f"203.0.113.{number}"), now=0)
    assert lockout.wait_s(Peer("192.0.2.1"), now=0) == 10
    assert lockout.wait_s(ANA, now=0) == 0


def test_memory_is_bounded(lockout: Lockout) -> None:
    for number in range(1000):
        lockout.failed(Peer(f"10.0.{number // 256}.{number % 256}"), now=number)
        lockout.succeeded(Peer(f"10.1.{number // 256}.{number % 256}"))
    assert len(lockout) <= 2 * RULES.peers_max


@given(st.lists(st.tuples(st.sampled_from([EVE, ANA]), st.floats(0, 500)), max_size=60))
def test_nobody_waits_longer_than_the_longest_lock(tries: list[tuple[Peer, float]]) -> None:
    lockout, now = Lockout(RULES), 0.0
    for peer, pause_s in tries:
        now += pause_s
        if lockout.wait_s(peer, now=now) == 0:
            lockout.failed(peer, now=now)
        assert lockout.wait_s(peer, now=now) <= RULES.lock_max_s
    assert lockout.is_calm(now=now + RULES.lock_max_s + RULES.forget_after_s)


@pytest.mark.parametrize(
    ("address", "forwarded_for", "is_forwarded", "peer"),
    [
        ("127.0.0.1", None, False, Peer(LOCAL, is_local=True)),
        ("::1", None, False, Peer(LOCAL, is_local=True)),
        ("::ffff:127.0.0.1", None, False, Peer(LOCAL, is_local=True)),
        ("127.0.0.1", "203.0.113.9", True, EVE),
        ("127.0.0.1", "127.0.0.1, 203.0.113.9", True, EVE),
        # A proxy in front that lets its client write the header's beginning: only its own last word counts.
        ("::1", "203.0.113.9, 198.51.100.7", True, ANA),
        ("127.0.0.1", "127.0.0.1", True, Peer("127.0.0.1")),
        ("127.0.0.1", "nonsense", True, Peer(UNKNOWN)),
        ("127.0.0.1", None, True, Peer(UNKNOWN)),
        # Nobody else is believed what he says of himself.
        ("203.0.113.9", "127.0.0.1", True, EVE),
        ("203.0.113.9", None, False, EVE),
        ("2001:db8::1:2:3:4", None, False, Peer("2001:db8::/64")),
        ("2001:db8::ffff", None, False, Peer("2001:db8::/64")),
        (None, None, False, Peer(UNKNOWN)),
    ],
)
def test_a_peer_is_whom_the_nearest_proxy_names(
    address: str | None,
    forwarded_for: str | None,
    is_forwarded: bool,  # noqa: FBT001
    peer: Peer,
) -> None:
    assert Peer.of(address, forwarded_for=forwarded_for, is_forwarded=is_forwarded) == peer
