"""`relevo run`: the daemon."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import click
import structlog
import trio

from daemon.bootstrap import VERSION, Daemon, open_daemon
from daemon.check import Level, review
from daemon.cli.failure import WRONG_SETTINGS, CommandFailedError
from daemon.cli.options import config_option, settings_for
from daemon.lifecycle import Lifecycle, obey_signals
from daemon.sdnotify import Notifier
from daemon.settings import Settings

_log = structlog.get_logger(__name__)


@click.command()
@config_option
def run(config_path: Path | None) -> None:
    """Run the daemon until SIGTERM."""
    trio.run(_run, settings_for(config_path), restrict_keyboard_interrupt_to_checkpoints=True)


async def _run(settings: Settings) -> None:
    lifecycle = Lifecycle()
    notifier = Notifier.from_environ(os.environ)
    _log.info("starting", version=VERSION)
    _look_at(settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(obey_signals, lifecycle, nursery.cancel_scope, name="signals")
        async with open_daemon(settings, lifecycle) as daemon:
            _relax_garbage_collection()
            nursery.start_soon(notifier.feed_watchdog, _health(daemon), name="watchdog")
            notifier.ready(f"serving on {daemon.public[0]}:{daemon.public[1]}")
            _log.info("serving", public=daemon.public, admin=daemon.admin, version=VERSION)
            await lifecycle.until_drain()
            notifier.stopping(settings.http.drain_s)
        nursery.cancel_scope.cancel(reason="stopped")
    _log.info("stopped")


def _look_at(settings: Settings) -> None:
    """Log what `relevo check` would say, and go no further with what it calls a problem."""
    findings = review(settings)
    for finding in findings:
        if finding.level is not Level.NOTE:
            _log.warning("setting to look at", key=finding.key, detail=finding.sentence)
    problems = [f"{f.key} {f.sentence}" for f in findings if f.level is Level.PROBLEM]
    if problems:
        raise CommandFailedError("; ".join(problems), WRONG_SETTINGS)


def _relax_garbage_collection() -> None:
    """What has been made until now stays to the end and is never looked through again, and the rest more rarely.

    Little of what a turn leaves behind is cyclic. With CPython's own thresholds the collector took 4 % of the CPU
    under load (measured), and each full look through a process with thousands of conversations stops them all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)


def _health(daemon: Daemon) -> Callable[[], bool]:
    return lambda: daemon.loop_monitor.healthy and daemon.status.do_watchers_run
