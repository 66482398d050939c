"""`relevo lab`: the simulators of ElevenLabs and Twilio, alone."""

import json
from collections.abc import Mapping
from typing import Any, Final

import click
import trio

from daemon.cli.options import log_to_terminal
from daemon.lab.serving import Lab, open_lab

EXAMPLE_CALLER: Final = "+5215512345678"
EXAMPLE_ADVISORS: Final = (("Jesús Ortega", "+525550000001"), ("Laura Gómez", "+525550000002"))


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
    click.echo("# and two persons to whom callers may be put through:")
    for name, phone in EXAMPLE_ADVISORS:
        click.echo(f'# [[transfer.advisors]]\n# name = "{name}"\n# phone = "{phone}"')
    _show_a_call(running.twilio_url)


def _show_a_call(twilio_url: str) -> None:
    """Somebody who asks for an advisor, with what one advisor and the other do; for a shell."""
    (_, first), (_, second) = EXAMPLE_ADVISORS
    lines = {
        first: [{"answers": "silent"}],
        second: [
            {"steps": [{"at": "gather", "wait_s": 3, "press": "1"}, {"at": "joined", "say": "Buenas tardes"}]}
        ],
    }
    steps = [
        {"at": "agent_said@agent", "wait_s": 0.5, "say": "Quiero hablar con un asesor"},
        {"at": "agent_said:otro asesor@agent", "wait_s": 0.5, "say": "Pruebe con otro asesor, por favor"},
    ]
    call = {"sender": EXAMPLE_CALLER, "script": {"steps": steps, "hang_up_after_s": 120}}
    click.echo(
        "# somebody calls; one advisor does not pick up, the other presses 1 (docs/lab.md, The telephone):"
    )
    for number, calls in lines.items():
        click.echo(f"# curl -X PUT {twilio_url}/lab/lines/{number} -d '{_json({'calls': calls})}'")
    click.echo(f"# curl -X POST {twilio_url}/lab/calls -d '{_json(call)}'")


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False)
