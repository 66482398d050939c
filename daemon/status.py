"""The running daemon, as the status route and `relevo status` show it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeVar

import trio
from attrs import asdict, field, frozen

from actors.alerts import Alerts
from actors.conversation.mail import ConversationMessage
from actors.conversation.socket_budget import SocketBudget
from actors.live_call.world import ActiveCalls
from actors.overview import Overview
from actors.ports import StoreUnavailableError, WallClock
from actors.runtime.registry import Registry
from actors.runtime.supervisor import Supervisor
from actors.watch.call_monitor import CallMonitor
from daemon.lifecycle import Lifecycle

T = TypeVar("T")

STORE_CHECK_S = 3.0
WATCHERS = ("outbox", "holds", "recovery", "inbox_check", "call_monitor", "idle_reaper", "readmission")
VOICE_WATCHERS = ("transfer_desk", "voicemail", "hold_music", "speech")
"""Those of live calls, where there are any."""


@frozen(kw_only=True)
class DaemonStatus:
    """Gathers what every part knows of itself.

    Attributes:
        store_kind: `embedded` or `postgresql`.
        is_store_up: whether the database answers now.
        live_calls: None where no agent speaks.
        loop_delay_s: how late the event loop ran when it was last looked at.
    """

    version: str
    lifecycle: Lifecycle
    store_kind: str
    is_store_up: Callable[[], Awaitable[bool]]
    overview: Overview
    supervisor: Supervisor
    conversations: Registry[ConversationMessage]
    live_calls: ActiveCalls | None
    budget: SocketBudget
    monitor: CallMonitor
    alerts: Alerts
    clock: WallClock
    loop_delay_s: Callable[[], float]
    started_at: datetime
    _started_monotonic: float = field(factory=trio.current_time, init=False)

    async def is_ready(self) -> bool:
        """Whether messages are taken in: serving, and the database answers."""
        with trio.move_on_after(STORE_CHECK_S):
            return self.lifecycle.is_serving and await self.is_store_up()
        return False

    @property
    def do_watchers_run(self) -> bool:
        """Whether every permanent child lives at this moment, and is not waiting to be started again."""
        names = (*WATCHERS, *(VOICE_WATCHERS if self.live_calls is not None else ()))
        states = [self.supervisor.state(name) for name in names]
        return all(state is not None and state.is_running for state in states)

    async def queue_lengths(self) -> Mapping[str, int]:
        """By queue; empty while the database is down."""
        queues = await self._asked(self.overview.queues)
        return asdict(queues) if queues is not None else {}

    async def report(self) -> Mapping[str, object]:
        """The status as JSON values. Never fails: a database that is down is part of the status."""
        queues = await self._asked(self.overview.queues)
        calls = await self._asked(self.overview.call_counts) if queues is not None else None
        return {
            "phase": self.lifecycle.phase.value,
            "version": self.version,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "uptime_s": round(trio.current_time() - self._started_monotonic, 1),
            "store": {"kind": self.store_kind, "ok": queues is not None},
            "actors": self._actors(),
            "queues": asdict(queues) if queues is not None else None,
            "calls": asdict(calls) if calls is not None else None,
            "event_loop_delay_s": round(self.loop_delay_s(), 4),
            "alerts": [asdict(alert) for alert in self.alerts.standing],
        }

    def _actors(self) -> Mapping[str, object]:
        monitor = self.monitor.state
        last_poll_at = monitor.last_poll_at
        return {
            "conversations": len(self.conversations),
            "live_calls": len(self.live_calls) if self.live_calls is not None else 0,
            "parked": len(self.conversations.parked),
            "open_sockets": len(self.budget),
            "restarts": self.supervisor.restarts,
            "monitor": {
                **self._alive("call_monitor"),
                "last_poll_at": last_poll_at.isoformat(timespec="seconds") if last_poll_at else None,
                "last_error": monitor.last_error,
            },
            "reaper": self._alive("idle_reaper"),
            "recovery": self._alive("recovery"),
            "readmission": self._alive("readmission"),
            "inbox_check": self._alive("inbox_check"),
            "transfer": self._alive_if_there("transfer_desk"),
            "outbox": self._alive("outbox"),
            "holds": self._alive("holds"),
        }

    def _alive(self, name: str) -> Mapping[str, object]:
        state = self.supervisor.state(name)
        return {"alive": state is not None and state.is_running, "restarts": state.restarts if state else 0}

    def _alive_if_there(self, name: str) -> Mapping[str, object]:
        """Of what is not part of every daemon: that it is missing is no fault."""
        if self.supervisor.state(name) is None:
            return {"configured": False}
        return {"configured": True, **self._alive(name)}

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What the database says; None while it is down."""
        with trio.move_on_after(STORE_CHECK_S):
            try:
                return await ask()
            except StoreUnavailableError:
                return None
        return None
