"""`relevo migrate`: the schema, brought up to date."""

from pathlib import Path

import click
import trio

from daemon.adapters import open_store
from daemon.cli.options import config_option, settings_for
from daemon.settings import Settings


@click.command()
@config_option
def migrate(config_path: Path | None) -> None:
    """Bring the database's schema up to date (`run` does it too)."""
    trio.run(_migrate, settings_for(config_path, require=()))


async def _migrate(settings: Settings) -> None:
    async with open_store(settings):
        click.echo("the schema is current")
