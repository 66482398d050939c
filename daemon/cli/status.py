"""`relevo status`: is it alive, and what waits."""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from daemon.cli.admin_client import NEEDS, admin_client
from daemon.cli.failure import CommandFailedError
from daemon.cli.options import config_option, settings_for
from daemon.cli.screen import open_console, styled

_WATCHERS = ("monitor", "outbox", "holds", "recovery", "inbox_check", "reaper", "transfer")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
@config_option
def status(config_path: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click passes a flag so
    """Show the running daemon; exit 1 when it is not running or not ready."""
    with admin_client(settings_for(config_path, require=NEEDS)) as client:
        report = client.get("/admin/status")
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _show(report)
    if report["phase"] != "serving" or not report["store"]["ok"]:
        raise CommandFailedError("the daemon is not ready")


def _show(report: dict[str, Any]) -> None:
    console, actors, store = open_console(), report["actors"], report["store"]
    console.print(
        f"relevo {report['version']}:",
        styled(report["phase"], "bold"),
        f"for {report['uptime_s']:.0f} s, database {store['kind']}",
        "ok" if store["ok"] else styled("down", "red"),
    )
    table = Table("watcher", "state", "restarts", "", box=None, pad_edge=False)
    for name in _WATCHERS:
        watcher = actors.get(name)
        # Where no agent speaks there are no live calls to look after.
        if watcher is None or not watcher.get("configured", True):
            continue
        table.add_row(
            name,
            styled("IS RUNNING", "green") if watcher["alive"] else styled("NOT RUNNING", "red"),
            str(watcher["restarts"]),
            _monitor_note(watcher) if name == "monitor" else "",
        )
    console.print(table)
    console.print(
        f"conversations {actors['conversations']} (parked {actors['parked']}), "
        f"agent sockets {actors['open_sockets']}, restarts {actors['restarts']}"
    )
    queues = report["queues"]
    if queues is not None:
        console.print(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in queues.items()))
    calls = report["calls"]
    if calls is not None:
        console.print(f"live calls {calls['live']}, recordings to fetch {calls['unfinished_recordings']}")
    for alert in report["alerts"]:
        console.print(styled("alert", "yellow"), f"{alert['since']} ({alert['count']}×) {alert['text']}")


def _monitor_note(monitor: dict[str, Any]) -> str:
    if monitor["last_error"]:
        return f"last error: {monitor['last_error']}"
    return f"last poll {monitor['last_poll_at'] or 'under way'}"
