"""`relevo check`: what is wrong with the settings, and what to expect of them."""

from pathlib import Path

import click
import trio

from daemon.check import Finding, Level, by_gravity, review
from daemon.check_online import review_online
from daemon.cli.failure import WRONG_SETTINGS, CommandFailedError
from daemon.cli.options import config_option, settings_for
from daemon.cli.screen import printable
from daemon.twilio.account_settings import FALLBACK_TWIML

_COLOURS = {Level.PROBLEM: "red", Level.WARNING: "yellow", Level.NOTE: "blue", Level.FINE: "green"}


@click.command()
@click.option(
    "--online",
    is_flag=True,
    help="Ask the database, Twilio and ElevenLabs as well; changes nothing.",
)
@config_option
def check(config_path: Path | None, *, online: bool) -> None:
    """Read the settings and name every problem at once, with its key and how to mend it."""
    settings = settings_for(config_path)
    findings = review(settings)
    if online:
        findings += trio.run(review_online, settings)
    for finding in by_gravity(findings):
        _show(finding)
    if settings.twilio.voice_number:
        _show_fallback()
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    if problems:
        raise CommandFailedError(f"{problems} problem(s) found", WRONG_SETTINGS)
    click.echo("the settings are usable")


def _show(finding: Finding) -> None:
    label = click.style(f"{finding.level.value:8}", fg=_COLOURS[finding.level])
    click.echo(f"{label} {finding.key}: {printable(finding.sentence)}")
    if finding.mend:
        click.echo(f"         {printable(finding.mend)}")


def _show_fallback() -> None:
    """Twilio must have it before it is needed, and nobody can ask this daemon for it then."""
    _show(
        Finding(
            level=Level.NOTE,
            key="twilio.voice_number",
            sentence="for when this machine is down, keep this in a TwiML Bin and name it as the number's fallback",
            mend="docs/live-call.md says how",
        )
    )
    click.echo(FALLBACK_TWIML)
