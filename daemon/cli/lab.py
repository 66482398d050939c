"""`relevo lab`: the simulators of ElevenLabs and Twilio, alone."""

import click
import trio

from daemon.cli.options import log_to_terminal
from daemon.lab.serving import Lab, open_lab


@click.command()
@click.option("--elevenlabs-port", default=3101, show_default=True, type=click.IntRange(0, 65535))
@click.option("--twilio-port", default=3102, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--public-url",
    default="http://127.0.0.1:3001",
    show_default=True,
    help="Where the daemon is called: its BASE_PUBLIC_URL.",
)
@click.option(
    "--webhooks/--no-webhooks",
    default=True,
    show_default=True,
    help="Whether the simulated ElevenLabs tells of finished calls, or leaves it to polling.",
)
@click.option("--seed", default=0, show_default=True, help="Repeats the draws of faults.")
def lab(elevenlabs_port: int, twilio_port: int, public_url: str, seed: int, *, webhooks: bool) -> None:
    """Run the simulators until Ctrl-C.

    They take the place of both vendors for a daemon that is started with the variables printed here. What
    they did, and what faults they have, is at GET /lab of either.
    """
    log_to_terminal("warning")
    trio.run(_serve, elevenlabs_port, twilio_port, public_url, webhooks, seed)


async def _serve(elevenlabs_port: int, twilio_port: int, public_url: str, webhooks: bool, seed: int) -> None:  # noqa: FBT001 - trio.run passes by position
    async with open_lab(
        public_url=public_url.rstrip("/"),
        elevenlabs_port=elevenlabs_port,
        twilio_port=twilio_port,
        seed=seed,
        sends_post_call_webhooks=webhooks,
    ) as running:
        _introduce(running, public_url)
        await trio.sleep_forever()


def _introduce(running: Lab, public_url: str) -> None:
    click.echo(f"# ElevenLabs simulator: {running.elevenlabs_url}/lab")
    click.echo(f"# Twilio simulator:     {running.twilio_url}/lab")
    for name, value in running.environment().items():
        click.echo(f"export {name}={value}")
    click.echo(f"export BASE_PUBLIC_URL={public_url}")
    click.echo("# in config.toml, since nobody who was only called may be sent free text:")
    click.echo("# [whatsapp]")
    click.echo(f'# opening_template_sid = "{running.account.opening_template_sid}"')
    click.echo(
        """# opening_template_variables = { "1" = "{{ name or 'cliente' }}", "2" = "{{ summary or '…' }}" }"""
    )
