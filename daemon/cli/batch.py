"""`relevo batch`: batches of calls and how far their follow-ups are."""

from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from rich.console import Console
from rich.table import Table

from daemon.cli.admin_client import NEEDS, admin_client
from daemon.cli.options import config_option, settings_for


@click.group()
def batch() -> None:
    """Batches of calls."""


@batch.command()
@click.argument("batch_id", metavar="[ID]", required=False)
@config_option
def show(batch_id: str | None, config_path: Path | None) -> None:
    """Show a batch, recipient by recipient; the newest without ID."""
    with admin_client(settings_for(config_path, require=NEEDS)) as client:
        found = client.get(f"/admin/batches/{quote(batch_id or 'newest', safe='')}")
    _print(found)


@batch.command()
@click.argument("batch_id", metavar="ID")
@config_option
def process(batch_id: str, config_path: Path | None) -> None:
    """Run the follow-up of every finished recipient now; safe to repeat."""
    with admin_client(settings_for(config_path, require=NEEDS)) as client:
        found = client.post(f"/admin/batches/{quote(batch_id, safe='')}/process")
    _print(found)


def _print(found: dict[str, Any]) -> None:
    console = Console(highlight=False)
    console.print(f"[bold]{found['id']}[/bold] {found['name']}: {found['status']}, {found['created_at']}")
    table = Table("recipient", "number", "call", "conversation", "follow-up", box=None, pad_edge=False)
    for recipient in found["recipients"]:
        table.add_row(
            recipient["id"],
            recipient["phone_number"] or "-",
            recipient["outcome"] or recipient["status"],
            recipient["conversation_id"] or "-",
            " ".join(filter(None, [recipient["follow_up"], recipient["follow_up_note"]])) or "-",
        )
    console.print(table)
    counts = Counter(recipient["follow_up"] or "not found yet" for recipient in found["recipients"])
    console.print(", ".join(f"{state} {count}" for state, count in sorted(counts.items())))
