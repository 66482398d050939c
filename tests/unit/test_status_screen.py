"""`relevo status`: the watcher of live calls, where there are any."""

from collections.abc import Mapping
from typing import Any

import pytest

from daemon.cli import status

WATCHERS = ("monitor", "outbox", "holds", "recovery", "inbox_check", "reaper")


def shown(transfer: Mapping[str, Any] | None, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of the lines about `transfer`."""
    watchers: dict[str, Any] = {name: {"alive": True, "restarts": 0} for name in WATCHERS}
    watchers["monitor"] |= {"last_error": None, "last_poll_at": None}
    if transfer is not None:
        watchers["transfer"] = transfer
    status._show(
        {
            "version": "0",
            "phase": "serving",
            "uptime_s": 7.0,
            "store": {"kind": "postgresql", "ok": True},
            "actors": {"conversations": 0, "parked": 0, "open_sockets": 0, "restarts": 0, **watchers},
            "queues": None,
            "calls": None,
            "alerts": [],
        }
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {words[0] for words in lines if words} >= {*WATCHERS}
    return [words for words in lines if words and words[0] == "transfer"]


def test_the_watcher_of_live_calls_is_shown_where_there_are_any(
    capsys: pytest.CaptureFixture[str],
) -> None:
    [lives] = shown({"configured": True, "alive": True, "restarts": 3}, capsys)
    assert lives[-1] == "3"
    assert "NOT" not in lives
    [has_crashed] = shown({"configured": True, "alive": False, "restarts": 4}, capsys)
    assert has_crashed == ["transfer", "NOT", "RUNNING", "4"]


@pytest.mark.parametrize("transfer", [{"configured": False}, None])
def test_that_there_are_no_live_calls_is_no_fault(
    transfer: Mapping[str, Any] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(transfer, capsys) == []
