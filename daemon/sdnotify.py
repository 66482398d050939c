"""What systemd is told: ready, stopping, how it goes, and that there is progress.

systemd docs: sd_notify(3), sd_watchdog_enabled(3), "Standalone Implementations".
"""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable

import structlog
import trio

_log = structlog.get_logger(__name__)

Health = Callable[[], bool | Awaitable[bool]]

_USEC = 1_000_000
_STOP_MARGIN_S = 10.0
_ASK_AGAIN_AFTER = 0.1
"""Of the watchdog's period, while there is no progress: one bad moment must not cost a whole period."""


class Notifier:
    """Speaks to the service manager; without one, every method does nothing.

    A message that cannot be delivered is logged and forgotten: the manager's own time limits decide then.
    """

    def __init__(self, *, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = address
        self._watchdog_s = watchdog_s

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Notifier":
        """As the service manager asks for it by `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`."""
        address = environ.get("NOTIFY_SOCKET") or None
        if address is not None and address[0] not in "/@":
            _log.warning("unknown kind of notify socket", address=address)
            address = None
        return cls(address=address, watchdog_s=_watchdog_s(environ))

    def ready(self, status: str) -> None:
        """Start-up is complete."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """A sentence for `systemctl status`."""
        self._send(_status(status))

    def stopping(self, drain_s: float) -> None:
        """The drain has begun and takes at most `drain_s`; the manager's own limit is extended if it is shorter."""
        extension_us = int((drain_s + _STOP_MARGIN_S) * _USEC)
        self._send("STOPPING=1", _status("draining"), f"EXTEND_TIMEOUT_USEC={extension_us}")

    async def feed_watchdog(self, healthy: Health) -> None:
        """Twice in the watchdog's time say that there is progress, if `healthy()` says so, now or when awaited.

        Runs until cancelled; returns at once where no watchdog waits. An exception of `healthy` comes out.
        """
        if self._address is None or self._watchdog_s is None:
            return
        period_s = self._watchdog_s / 2
        hungry = False
        while True:
            answer = healthy()
            if await answer if isawaitable(answer) else answer:
                self._send("WATCHDOG=1")
                hungry = False
                await trio.sleep(period_s)
            else:
                if not hungry:
                    _log.warning("watchdog is not fed: no progress")
                hungry = True
                await trio.sleep(period_s * _ASK_AGAIN_AFTER)

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        # A leading @ stands for the zero byte of an abstract address.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.setblocking(False)
                notify.sendto("\n".join(assignments).encode(), address)
        except OSError as error:
            _log.warning("service manager not notified", message=assignments[0], detail=str(error))


def _status(sentence: str) -> str:
    """In one line: what follows a newline would be an assignment of its own."""
    return f"STATUS={' '.join(sentence.splitlines())}"


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    timeout_us = environ.get("WATCHDOG_USEC", "")
    return int(timeout_us) / _USEC if timeout_us.isdecimal() and int(timeout_us) > 0 else None
