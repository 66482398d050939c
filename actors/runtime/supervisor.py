"""Supervision: who starts tasks, and what happens when one ends.

The words are OTP's. Every child runs behind one crash boundary; a crash is logged, counted and answered by
the child's restart policy, and never reaches its siblings.
"""

import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Protocol

import structlog
import trio
from attrs import define, field, frozen

from actors.metrics import Metrics
from actors.runtime.backoff import doubling_s

_log = structlog.get_logger(__name__)

LARGEST_BACKOFF_S = 30.0


class RestartPolicy(Enum):
    PERMANENT = auto()
    """Always restarted; over its intensity the supervisor gives up, and with it the process."""
    TRANSIENT = auto()
    """Restarted after a crash; over its intensity it is parked and everyone else goes on."""
    TEMPORARY = auto()
    """Never restarted."""


@frozen(kw_only=True)
class RestartIntensity:
    """At most `restarts_max` restarts within `within_s` seconds; the first comes after `backoff_s`, doubling."""

    restarts_max: int = 5
    within_s: float = 60.0
    backoff_s: float = 0.1


class ChildExit(Enum):
    ENDED = auto()
    """It returned, or crashed and was temporary."""
    STOPPED = auto()
    """It was told to stop."""
    PARKED = auto()
    """It crashed too often."""


class RunChild(Protocol):
    def __call__(self, *, task_status: trio.TaskStatus[None]) -> Awaitable[None]: ...


@frozen(kw_only=True)
class ChildSpec:
    """A child to be.

    Attributes:
        name: unique among the living children; contains no personal data.
        run: lives until cancelled, or until it has nothing left to do; calls `task_status.started()` once
            ready.
        kind: what it is counted as.
        on_exit: told once, synchronously, when the child is gone for good.
    """

    name: str
    run: RunChild
    policy: RestartPolicy
    kind: str
    intensity: RestartIntensity = RestartIntensity()
    on_exit: Callable[[ChildExit], None] | None = None


class SupervisorGaveUpError(Exception):
    """A permanent child crashed more often than its intensity allows; restarting the process may help."""


@define(eq=False)
class _Child:
    spec: ChildSpec
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    restarted_at: deque[float] = field(factory=deque)
    restarts: int = 0
    is_running: bool = False
    gone: trio.Event = field(factory=trio.Event)


@frozen(kw_only=True)
class ChildState:
    name: str
    is_running: bool
    restarts: int


class Supervisor:
    """Runs children one for one. `run` must be running before the first child is started."""

    def __init__(self, *, metrics: Metrics) -> None:
        self._metrics = metrics
        self._children: dict[str, _Child] = {}
        self._nursery: trio.Nursery | None = None
        self.restarts = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the children; runs until cancelled.

        Raises:
            SupervisorGaveUpError: possibly in a group, when a permanent child is over its intensity.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def start(self, spec: ChildSpec) -> None:
        """Start a child and wait until it is ready. A crash before that is raised here."""
        await self._require_nursery().start(self._keep, self._admit(spec), name=spec.name)

    def spawn(self, spec: ChildSpec) -> None:
        """Start a child without waiting.

        May be called from anywhere, a request handler included: the child gets an empty context, so that it
        neither keeps the caller's request alive nor logs under its id.
        """
        nursery, child = self._require_nursery(), self._admit(spec)
        contextvars.Context().run(lambda: nursery.start_soon(self._keep, child, name=spec.name))

    async def stop(self, name: str, *, reason: str) -> None:
        """Cancel a child and wait until it is gone; without such a child nothing happens."""
        child = self._children.get(name)
        if child is not None:
            child.scope.cancel(reason=reason)
            await child.gone.wait()

    def state(self, name: str) -> ChildState | None:
        child = self._children.get(name)
        if child is None:
            return None
        return ChildState(name=name, is_running=child.is_running, restarts=child.restarts)

    def _require_nursery(self) -> trio.Nursery:
        if self._nursery is None:
            raise RuntimeError("the supervisor is not running")
        return self._nursery

    def _admit(self, spec: ChildSpec) -> _Child:
        if spec.name in self._children:
            raise ValueError(f"there is a child named {spec.name!r} already")
        child = self._children[spec.name] = _Child(spec)
        return child

    async def _keep(
        self, child: _Child, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        exit_ = ChildExit.STOPPED
        try:
            exit_ = await self._run_until_gone(child, task_status)
        finally:
            del self._children[child.spec.name]
            child.gone.set()
            if child.spec.on_exit is not None:
                child.spec.on_exit(exit_)

    async def _run_until_gone(self, child: _Child, task_status: trio.TaskStatus[None]) -> ChildExit:
        ready = _Readiness(task_status)
        with child.scope:
            while True:
                child.is_running = True
                crash = await self._run_once(child, ready)
                child.is_running = False
                if crash is not None and not ready.given and not ready.is_ignored:
                    raise crash
                if crash is None and child.spec.policy is not RestartPolicy.PERMANENT:
                    return ChildExit.ENDED
                if child.spec.policy is RestartPolicy.TEMPORARY:
                    return ChildExit.ENDED
                if not self._may_restart(child):
                    return self._park(child, crash)
                await trio.sleep(_backoff_s(child))
                child.restarts += 1
                self.restarts += 1
                self._metrics.child_restarted(child.spec.kind)
        return ChildExit.STOPPED

    async def _run_once(self, child: _Child, ready: "_Readiness") -> BaseException | None:
        """One life of a child: None when it returned, else what it crashed of."""
        try:
            await child.spec.run(task_status=ready)
        except BaseException as crash:
            # trio-websocket can leak a Cancelled of a scope that is already closed (its issue 184); passed on,
            # it would end the whole process without a word. We are being cancelled only if a deadline around
            # us has passed; everything else is this child's crash. The two that mean "leave" still leave.
            is_cancelled = trio.current_effective_deadline() == float("-inf")
            if _wants_to_leave(crash) or (is_cancelled and _is_only_cancelled(crash)):
                raise
            _log.exception("child crashed", child=child.spec.name)
            # Who failed while being stopped is gone like the others, and must not take the siblings along.
            await trio.lowlevel.checkpoint_if_cancelled()
            return crash
        if child.spec.policy is RestartPolicy.PERMANENT:
            _log.error("permanent child ended", child=child.spec.name)
        return None

    @staticmethod
    def _may_restart(child: _Child) -> bool:
        now, intensity = trio.current_time(), child.spec.intensity
        child.restarted_at.append(now)
        while child.restarted_at[0] <= now - intensity.within_s:
            child.restarted_at.popleft()
        return len(child.restarted_at) <= intensity.restarts_max

    @staticmethod
    def _park(child: _Child, crash: BaseException | None) -> ChildExit:
        if child.spec.policy is RestartPolicy.PERMANENT:
            sentence = f"{child.spec.name} crashed more than {child.spec.intensity.restarts_max} times"
            raise SupervisorGaveUpError(sentence) from crash
        _log.error("child parked", child=child.spec.name)
        return ChildExit.PARKED


class _Readiness:
    """Passes the first `started()` of a child on; the ones after a restart have nobody to tell."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status
        self.is_ignored = task_status is trio.TASK_STATUS_IGNORED
        self.given = False

    def started(self, value: None = None) -> None:
        if not self.given:
            self.given = True
            self._task_status.started(value)


def _backoff_s(child: _Child) -> float:
    return doubling_s(child.spec.intensity.backoff_s, len(child.restarted_at) - 1, max_s=LARGEST_BACKOFF_S)


def _is_only_cancelled(crash: BaseException) -> bool:
    if isinstance(crash, BaseExceptionGroup):
        return all(_is_only_cancelled(inner) for inner in crash.exceptions)
    return isinstance(crash, trio.Cancelled)


def _wants_to_leave(crash: BaseException) -> bool:
    if isinstance(crash, BaseExceptionGroup):
        return any(_wants_to_leave(inner) for inner in crash.exceptions)
    return isinstance(crash, KeyboardInterrupt | SystemExit)
