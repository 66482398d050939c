"""`relevo conversation`: the operator's hands on one conversation."""

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from daemon.cli.admin_client import NEEDS, AdminClient, admin_client
from daemon.cli.options import config_option, settings_for
from daemon.cli.screen import open_console, styled


@click.group()
def conversation() -> None:
    """Conversations on WhatsApp."""


@conversation.command("list")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="At most so many."
)
@config_option
def list_(limit: int, config_path: Path | None) -> None:
    """List conversations, newest first."""
    table = Table(
        "id", "number", "name", "status", "messages", "unanswered", "last message", box=None, pad_edge=False
    )
    with admin_client(settings_for(config_path, require=NEEDS)) as client:
        found = _newest(client, limit)
    for one in found:
        table.add_row(
            str(one["id"]),
            one["phone_number"] or "-",
            one["client_name"] or "-",
            one["status"],
            str(one["message_count"]),
            str(one["unanswered"]),
            one["last_message_at"] or "-",
        )
    open_console().print(table)


@conversation.command()
@click.argument("phone")
@config_option
def show(phone: str, config_path: Path | None) -> None:
    """Show the newest conversation with PHONE: its calls and messages in order."""
    with admin_client(settings_for(config_path, require=NEEDS)) as client:
        found = client.post("/admin/conversations/find", {"phone": phone})
        timeline = client.get(f"/admin/conversations/{found['id']}")
    console = open_console()
    console.print(
        styled(timeline["client_name"] or "unnamed", "bold"),
        f"{timeline['phone_number'] or ''}: {timeline['status']},",
        f"agent session {timeline['elevenlabs_conversation_id'] or 'none yet'}",
    )
    for interaction in timeline["interactions"]:
        console.print(_line(interaction), soft_wrap=True)


@conversation.command()
@click.argument("phone")
@config_option
def close(phone: str, config_path: Path | None) -> None:
    """Close the conversation with PHONE; the next message or call opens another."""
    with admin_client(settings_for(config_path, require=NEEDS)) as client:
        found = client.post("/admin/conversations/find", {"phone": phone})
        closed = client.post(f"/admin/conversations/{found['id']}/close")["closed"]
    click.echo("closed" if closed else "was closed already")


def _newest(client: AdminClient, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while len(found) < limit:
        page = client.get(f"/admin/conversations?cursor={cursor}")
        found += page["conversations"]
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]
    return found[:limit]


def _status(details: dict[str, Any]) -> str:
    """How far a message of ours came; of a failure the code and what to do."""
    why = " ".join(str(details[name]) for name in ("error_code", "error_detail") if details.get(name))
    return f"{details['status']}: {why}" if why else str(details["status"])


def _line(interaction: dict[str, Any]) -> str:
    details = interaction["metadata"]
    if interaction["type"] == "call":
        live_call_id = details.get("live_call_id")
        # The agent may have several sessions in one call, and is not in all of it.
        kind = f"agent session of live call {live_call_id}" if live_call_id else "call"
        who = f"{kind} ({details.get('outcome', 'unknown')}, {details.get('duration_s', 0)} s)"
    else:
        mark = f" [{_status(details)}]" if details["direction"] == "outbound" else ""
        who = ("them" if details["direction"] == "inbound" else "us") + mark
    # A message's note is about its sending.
    note = f" [{details['note']}]" if interaction["type"] == "call" and details.get("note") else ""
    return f"{interaction['timestamp']}  {who}: {interaction['content']}{note}"
