"""`relevo status`: is it alive, and what waits."""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from daemon.cli.admin_client import NEEDS, admin_client
from daemon.cli.failure import CommandFailedError
from daemon.cli.options import config_option, settings_for
from daemon.cli.screen import open_console, styled

_WATCHERS = ("monitor", "outbox", "holds", "recovery", "inbox_check", "reaper", "transfer")
_NOT_SERVING = {
    "starting": "the daemon is starting: it is not ready yet",
    "draining": "the daemon is draining: it finishes what is under way, takes in nothing new, and then ends",
}
# A watcher that does not run is a fault while the daemon serves alone.
_AT_REST = {"starting": "not started yet", "draining": "stopped, since it drains"}


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
    if report["phase"] != "serving":
        raise CommandFailedError(_NOT_SERVING[report["phase"]])
    if not report["store"]["ok"]:
        raise CommandFailedError("the daemon is not ready: its database does not answer")


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
            _state(report["phase"], is_alive=watcher["alive"]),
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


def _state(phase: str, *, is_alive: bool) -> Text:
    if is_alive:
        return styled("running", "green")
    at_rest = _AT_REST.get(phase)
    return styled(at_rest, "dim") if at_rest is not None else styled("NOT RUNNING", "red")


def _monitor_note(monitor: dict[str, Any]) -> str:
    if monitor["last_error"]:
        return f"last error: {monitor['last_error']}"
    return f"last poll {monitor['last_poll_at'] or 'under way'}"
