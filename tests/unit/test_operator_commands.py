"""What `relevo status` and `relevo conversation` make of the daemon's answers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner, Result

import daemon.cli.conversation as conversation_commands
import daemon.cli.status as status_command
from daemon.settings import Settings

Typed: TypeAlias = Callable[[Mapping[str, Any]], Result]

WATCHERS = ("monitor", "outbox", "holds", "recovery", "inbox_check", "reaper")


class Answers:
    """An admin client of what a test puts in."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    def get(self, path: str) -> Any:
        return self._answers[path]

    def post(self, path: str, _body: Mapping[str, Any] | None = None) -> Any:
        return self._answers[path]


def typed(
    module: Any, command: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> Typed:
    """The command, typed at a daemon that gives these answers."""
    config = folder / "config.toml"
    config.touch()

    def type_it(answers: Mapping[str, Any]) -> Result:
        @contextmanager
        def client(_settings: Settings) -> Iterator[Answers]:
            yield Answers(answers)

        monkeypatch.setattr(module, "admin_client", client)
        environment = {"RELEVO_ADMIN_TOKEN": "a-token-of-the-tests"}
        return CliRunner().invoke(command, [*arguments, "--config", str(config)], env=environment)

    return type_it


@pytest.fixture
def ask_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Typed:
    return typed(status_command, status_command.status, [], monkeypatch, tmp_path)


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Typed:
    command = conversation_commands.conversation
    return typed(conversation_commands, command, ["show", "+573001234567"], monkeypatch, tmp_path)


def status_of(phase: str, *, alive: bool = True, is_store_up: bool = True) -> Mapping[str, Any]:
    """A status in which the outbox lives, and the other watchers as said."""
    watchers: dict[str, dict[str, Any]] = {name: {"alive": alive, "restarts": 0} for name in WATCHERS}
    watchers["outbox"]["alive"] = True
    watchers["monitor"] |= {"last_error": None, "last_poll_at": None}
    report = {
        "version": "0",
        "phase": phase,
        "uptime_s": 7.0,
        "store": {"kind": "postgresql", "ok": is_store_up},
        "actors": {"conversations": 0, "parked": 0, "open_sockets": 0, "restarts": 0, **watchers},
        "queues": None,
        "calls": None,
        "alerts": [],
    }
    return {"/admin/status": report}


def test_a_daemon_that_serves_is_told_in_small_letters(ask_status: Typed) -> None:
    ended = ask_status(status_of("serving"))
    assert ended.exit_code == 0
    assert ended.stdout.count("running") == len(WATCHERS)
    assert "RUNNING" not in ended.stdout


def test_what_is_wrong_is_told_in_capitals(ask_status: Typed) -> None:
    assert ask_status(status_of("serving", alive=False)).stdout.count("NOT RUNNING") == len(WATCHERS) - 1


@pytest.mark.parametrize(
    ("phase", "state", "why"),
    [
        ("draining", "stopped, since it drains", "the daemon is draining"),
        ("starting", "not started yet", "the daemon is starting"),
    ],
)
def test_a_daemon_that_starts_or_drains_does_not_look_like_a_crash(
    ask_status: Typed, phase: str, state: str, why: str
) -> None:
    ended = ask_status(status_of(phase, alive=False))
    assert ended.exit_code == 1
    assert "NOT RUNNING" not in ended.stdout
    assert ended.stdout.count(state) == len(WATCHERS) - 1
    assert why in repr(ended.exception)


def test_a_daemon_without_its_database_says_so(ask_status: Typed) -> None:
    ended = ask_status(status_of("serving", is_store_up=False))
    assert (ended.exit_code, "its database does not answer" in repr(ended.exception)) == (1, True)


def test_a_live_call_is_shown_as_the_agents_sessions_in_it(show: Typed) -> None:
    """The call itself may have been longer: the agent was not in all of it."""
    session = {"type": "call", "timestamp": "2026-05-04T12:00:00+00:00", "content": "Factura"}
    known = {"outcome": "completed", "duration_s": 49}
    timeline = {
        "client_name": "Ana",
        "phone_number": "+57•••4567",
        "status": "active",
        "elevenlabs_conversation_id": None,
        "interactions": [
            {**session, "metadata": {**known, "live_call_id": 12}},
            {**session, "metadata": {**known, "live_call_id": 12, "is_part": True, "duration_s": 31}},
            {**session, "metadata": known},
        ],
    }
    ended = show({"/admin/conversations/find": {"id": 7}, "/admin/conversations/7": timeline})

    assert ended.exit_code == 0
    assert "  agent session of live call 12 (completed, 49 s): Factura" in ended.stdout
    assert "  agent session of live call 12 (completed, 31 s): Factura" in ended.stdout
    assert "  call (completed, 49 s): Factura" in ended.stdout
