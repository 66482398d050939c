"""What systemd hears, on real datagram sockets."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import trio
from structlog.testing import capture_logs

from daemon.sdnotify import Notifier


class Systemd:
    """A service manager's end of the socket."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self._socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        """The datagrams since the last look; a sender has put them here by the time it returns."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@relevo-test-{uuid4()}"
    manager = Systemd(name)
    yield manager
    manager.close()


def notifier(manager: Systemd, **environ: str) -> Notifier:
    return Notifier.from_environ({"NOTIFY_SOCKET": manager.name, **environ})


def test_ready_comes_with_a_status(manager: Systemd) -> None:
    notifier(manager).ready("serving on 127.0.0.1:3001")
    assert manager.heard() == [["READY=1", "STATUS=serving on 127.0.0.1:3001"]]


def test_a_status_is_one_line(manager: Systemd) -> None:
    notifier(manager).status("one\nWATCHDOG=1\r\nñandú")
    assert manager.heard() == [["STATUS=one WATCHDOG=1 ñandú"]]


def test_stopping_asks_for_the_time_of_the_drain(manager: Systemd) -> None:
    notifier(manager).stopping(20.5)
    assert manager.heard() == [["STOPPING=1", "STATUS=draining", "EXTEND_TIMEOUT_USEC=30500000"]]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "1000000"}])
async def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    silent = Notifier.from_environ(environ)
    silent.ready("serving")
    silent.stopping(20)
    await silent.feed_watchdog(lambda: True)


def test_a_socket_of_an_unknown_kind_is_named_in_the_log() -> None:
    with capture_logs() as logs:
        Notifier.from_environ({"NOTIFY_SOCKET": "vsock:2:1234"}).ready("serving")
    assert logs == [
        {"event": "unknown kind of notify socket", "address": "vsock:2:1234", "log_level": "warning"}
    ]


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    with capture_logs() as logs:
        Notifier(address=str(tmp_path / "nobody")).ready("serving")
    assert [(log["event"], log["message"]) for log in logs] == [("service manager not notified", "READY=1")]


async def test_the_watchdog_is_fed_twice_in_its_time(
    manager: Systemd, autojump_clock: trio.abc.Clock
) -> None:
    fed = notifier(manager, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    with trio.move_on_after(59):
        await fed.feed_watchdog(lambda: True)
    assert manager.heard() == [["WATCHDOG=1"]] * 4


async def test_without_progress_the_watchdog_starves_until_there_is_some(
    manager: Systemd, autojump_clock: trio.abc.Clock
) -> None:
    fed = notifier(manager, WATCHDOG_USEC="30000000")

    async def healthy() -> bool:
        return trio.current_time() >= 100

    with capture_logs() as logs, trio.move_on_after(99):
        await fed.feed_watchdog(healthy)
    assert manager.heard() == []
    assert [log["event"] for log in logs] == ["watchdog is not fed: no progress"]
    with trio.move_on_after(3):
        await fed.feed_watchdog(healthy)
    assert manager.heard() == [["WATCHDOG=1"]]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid() + 1)},
    ],
)
async def test_no_watchdog_is_fed_that_does_not_wait_for_this_process(
    manager: Systemd, environ: dict[str, str]
) -> None:
    await notifier(manager, **environ).feed_watchdog(lambda: True)
    assert manager.heard() == []
