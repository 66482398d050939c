"""Sessions of the admin page: who made them, how long they last, what ends them."""

from collections.abc import Callable

import pytest

from daemon.web.admin.session import Sessions

TOKEN = "a-token-of-the-tests"
HOUR_S = 3600


class Clock:
    now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(TOKEN, 12, clock)


def test_a_session_is_read_from_its_cookie_and_is_one_of_a_kind(sessions: Sessions) -> None:
    one, other = sessions.read(sessions.open()), sessions.read(sessions.open())
    assert one is not None
    assert other is not None
    assert one.id != other.id
    assert one.csrf_token != other.csrf_token


def test_a_cookie_holds_neither_token(sessions: Sessions) -> None:
    cookie = sessions.open()
    session = sessions.read(cookie)
    assert session is not None
    assert TOKEN not in cookie
    assert session.csrf_token not in cookie
    assert session.csrf_token not in repr(session)
    assert TOKEN not in repr(sessions)


def test_it_lasts_its_hours_and_not_longer(sessions: Sessions, clock: Clock) -> None:
    cookie = sessions.open()
    clock.now_s += 12 * HOUR_S
    assert sessions.read(cookie) is not None
    clock.now_s += 1
    assert sessions.read(cookie) is None


def test_a_cookie_from_the_future_is_none(sessions: Sessions, clock: Clock) -> None:
    cookie = sessions.open()
    clock.now_s -= 60
    assert sessions.read(cookie) is None


def test_a_restart_keeps_it_and_another_admin_token_ends_it(sessions: Sessions, clock: Clock) -> None:
    cookie = sessions.open()
    assert Sessions(TOKEN, 12, clock).read(cookie) == sessions.read(cookie)
    assert Sessions(TOKEN + "2", 12, clock).read(cookie) is None


def test_signing_out_ends_it_whoever_has_the_cookie(sessions: Sessions) -> None:
    cookie, other = sessions.open(), sessions.open()
    session = sessions.read(cookie)
    assert session is not None
    sessions.sign_out(session)
    assert sessions.read(cookie) is None
    assert sessions.read(other) is not None


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: c + "A", lambda c: "x" + c, lambda c: c.upper()]
)
def test_a_changed_cookie_is_none(sessions: Sessions, change: Callable[[str], str]) -> None:
    assert sessions.read(change(sessions.open())) is None


@pytest.mark.parametrize("cookie", ["", ".", "..", "ñ", "\ud800", "\x00", "x" * 100_000, "IjEi.aaaa.bbbb"])
def test_what_is_no_cookie_of_ours_is_none(sessions: Sessions, cookie: str) -> None:
    assert sessions.read(cookie) is None


def test_a_session_owns_its_token_alone(sessions: Sessions) -> None:
    session = sessions.read(sessions.open())
    other = sessions.read(sessions.open())
    assert session is not None
    assert other is not None
    assert session.owns(session.csrf_token)
    for wrong in ("", other.csrf_token, session.csrf_token[:-1], "ñ", "\ud800"):
        assert not session.owns(wrong)
