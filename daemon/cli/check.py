"""`relevo check`: what is wrong with the settings, and what to expect of them."""

import os
from pathlib import Path

import click

from daemon.check import Level, review
from daemon.cli.failure import WRONG_SETTINGS, CommandFailedError
from daemon.cli.options import config_option
from daemon.settings import load_settings

_COLOURS = {Level.PROBLEM: "red", Level.WARNING: "yellow", Level.NOTE: "blue"}


@click.command()
@config_option
def check(config_path: Path | None) -> None:
    """Read the settings and name every problem at once, with its key and how to mend it."""
    findings = review(load_settings(config_path, os.environ))
    for finding in findings:
        label = click.style(f"{finding.level.value:8}", fg=_COLOURS[finding.level])
        click.echo(f"{label} {finding.key}: {finding.sentence}")
        if finding.mend:
            click.echo(f"         {finding.mend}")
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    if problems:
        raise CommandFailedError(f"{problems} problem(s) found", WRONG_SETTINGS)
    click.echo("the settings are usable")
