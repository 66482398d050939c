"""`relevo batch`: batches of calls and how far their follow-ups are."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

import click
import trio
from rich.table import Table

from daemon.cli.admin_client import NEEDS, admin_client
from daemon.cli.batch_submission import Screen, submit_order
from daemon.cli.failure import CommandFailedError
from daemon.cli.options import config_option, settings_for
from daemon.cli.recipients import read_recipients
from daemon.cli.screen import open_console, styled
from daemon.clock import SystemClock
from daemon.elevenlabs.batch_calls import BatchOrder, Recipient

SUBMIT_NEEDS: Final = ("ELEVENLABS_API_KEY",)
FILE_MAX_BYTES: Final = 16 * 1024 * 1024


@click.group()
def batch() -> None:
    """Batches of calls."""


@batch.command()
@click.argument(
    "file", metavar="FILE.csv", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
)
@click.option("--name", required=True, help="What the batch is called in ElevenLabs.")
@click.option("--agent", "agent_id", help="Id of the agent that calls; else elevenlabs.voice_agent_id.")
@click.option("--phone-number-id", help="Id (phnum_…) of the number to call from, imported in ElevenLabs.")
@click.option(
    "--at", metavar="TIME", help="When to begin, ISO 8601; without an offset by texts.timezone. Else now."
)
@config_option
def submit(
    file: Path,
    name: str,
    agent_id: str | None,
    phone_number_id: str | None,
    at: str | None,
    config_path: Path | None,
) -> None:
    """Call everybody in FILE.csv: check every row, then submit them as one batch.

    The file is UTF-8, separated by commas or semicolons. Its first line names the columns: phone_number, perhaps id,
    and every other one is a dynamic variable of the call. The last line printed is the batch's id. On a terminal
    the calls are followed until they are over; Ctrl-C ends that, and not the calls.
    """
    settings = settings_for(config_path, require=SUBMIT_NEEDS)
    timezone = settings.texts.timezone
    begins_at = None if at is None else moment_of(at, timezone, now=SystemClock().now())
    screen = Screen()
    with screen.shown():
        screen.stage("checking")
        order = BatchOrder(
            name=_given(name, "name the batch with --name"),
            agent_id=_given(
                agent_id or settings.elevenlabs.voice_agent_id,
                "name an agent with --agent, or set elevenlabs.voice_agent_id",
            ),
            phone_number_id=_given(
                phone_number_id,
                "name the number to call from with --phone-number-id: its id (phnum_…) in ElevenLabs",
            ),
            recipients=_recipients_in(file, screen),
            begins_at=begins_at,
            timezone=timezone,
        )
        screen.say(f"{len(order.recipients)} recipients in {file}, none with a problem")
        batch_id = trio.run(submit_order, settings, order, screen)
    click.echo(batch_id)


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


def moment_of(text: str, timezone: str, *, now: datetime) -> datetime:
    """A moment of the future, ISO 8601 with its time of day; without an offset by the clock of `timezone`.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _bad_time(f"expected a time such as 2027-01-31T09:00, got {text!r}") from None
    if _is_date(text):
        raise _bad_time(f"{text} lacks the time of day, as in {text}T09:00")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(timezone))
    if moment <= now:
        raise _bad_time(f"{moment.isoformat(' ', 'minutes')} has passed")
    return moment


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _bad_time(sentence: str) -> click.BadParameter:
    return click.BadParameter(sentence, param_hint="--at")


def _given(value: str | None, sentence: str) -> str:
    if value is None or not value.strip():
        raise click.UsageError(sentence)
    return value.strip()


def _recipients_in(file: Path, screen: Screen) -> Sequence[Recipient]:
    """
    Raises:
        CommandFailedError: the file cannot be read, or some row cannot be called; every problem was printed.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise CommandFailedError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > FILE_MAX_BYTES:
        raise CommandFailedError(f"{file} is longer than {FILE_MAX_BYTES} bytes; nothing was submitted")
    checked = read_recipients(content)
    for problem in checked.problems:
        screen.say(f"{file}: {problem}")
    if checked.problems:
        raise CommandFailedError(f"{len(checked.problems)} problem(s) in {file}; nothing was submitted")
    return checked.recipients


def _print(found: dict[str, Any]) -> None:
    console = open_console()
    console.print(styled(found["id"], "bold"), f"{found['name']}: {found['status']}, {found['created_at']}")
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
