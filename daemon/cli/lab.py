"""`relevo lab`: the simulators of ElevenLabs and Twilio, alone."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
import trio

from daemon.cli.options import log_to_terminal
from daemon.lab.serving import Lab, LabAccount, open_lab

# As WhatsApp knows it, so that the messages that follow a call stand under the number that called.
EXAMPLE_CALLER: Final = "+525512345678"
EXAMPLE_ADVISORS: Final = (("Jesús Ortega", "+525550000001"), ("Laura Gómez", "+525550000002"))

_TEMPLATES: Final = """\
# Nobody who was only called, or has not written for a day, may be sent free text.
[whatsapp]
opening_template_sid = "{opening}"
opening_template_variables = {{ "1" = "{{{{ name or 'cliente' }}}}", "2" = "{{{{ summary or 'Gracias por su tiempo.' }}}}" }}
reopen_template_sid = "{reopen}"

[transfer]
message_template_sid = "{message}"
ring_timeout_s = {ring_timeout_s}
"""
_ADVISOR: Final = """
[[transfer.advisors]]
name = "{name}"
phone = "{phone}"
"""


@click.command()
@click.option("--elevenlabs-port", default=3101, show_default=True, type=click.IntRange(0, 65535))
@click.option("--twilio-port", default=3102, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--public-url",
    default="http://127.0.0.1:3001",
    show_default=True,
    help="Where the daemon is called: its BASE_PUBLIC_URL, and its PORT where it names one.",
)
@click.option(
    "--admin-port",
    default=3002,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="The daemon's admin.port, for its settings.",
)
@click.option(
    "--into",
    type=click.Path(exists=True, file_okay=False, writable=True, resolve_path=True, path_type=Path),
    help="Write lab.env and lab.toml, which a daemon needs, into this folder.",
)
@click.option(
    "--webhooks/--no-webhooks",
    default=True,
    show_default=True,
    help="Whether the simulated ElevenLabs tells of finished calls, or leaves it to polling.",
)
@click.option("--seed", default=0, show_default=True, help="Repeats the draws of faults.")
def lab(
    *,
    elevenlabs_port: int,
    twilio_port: int,
    public_url: str,
    admin_port: int,
    into: Path | None,
    webhooks: bool,
    seed: int,
) -> None:
    """Run the simulators until Ctrl-C.

    They take the place of both vendors for a daemon that is started with what is printed here: pasted into another
    terminal, it sets the variables and writes the settings into lab.toml. With --into both are files already.
    What the simulators did is at GET /lab of either, and what faults they have at GET /lab/faults.
    """
    log_to_terminal("warning")
    public_url = public_url.rstrip("/")

    async def serve() -> None:
        async with open_lab(
            public_url=public_url,
            elevenlabs_port=elevenlabs_port,
            twilio_port=twilio_port,
            seed=seed,
            sends_post_call_webhooks=webhooks,
        ) as running:
            variables = exports({**running.environment(), **_own_address(public_url)})
            settings = lab_settings(running.account, admin_port=admin_port)
            click.echo(f"# ElevenLabs simulator: {running.elevenlabs_url}/lab")
            click.echo(f"# Twilio simulator:     {running.twilio_url}/lab")
            if into is None:
                click.echo(as_shell(variables, settings), nl=False)
            else:
                _write(into, variables, settings)
            _show_a_call(running)
            await trio.sleep_forever()

    trio.run(serve)


def lab_settings(account: LabAccount, *, admin_port: int, ring_timeout_s: int = 25) -> str:
    """The settings with which a daemon uses the lab, as TOML: templates, the example's advisors, the admin port."""
    templates = _TEMPLATES.format(
        opening=account.opening_template_sid,
        reopen=account.reopen_template_sid,
        message=account.message_template_sid,
        ring_timeout_s=ring_timeout_s,
    )
    advisors = "".join(_ADVISOR.format(name=name, phone=phone) for name, phone in EXAMPLE_ADVISORS)
    return f"{templates}{advisors}\n[admin]\nport = {admin_port}\n"


def exports(variables: Mapping[str, str]) -> str:
    """Variables as lines for a shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def as_shell(variables: str, settings: str) -> str:
    """Lines that set the variables and write the settings into `lab.toml`, for a shell."""
    return (
        f'{variables}export RELEVO_CONFIG="$PWD/lab.toml"\n'
        f"cat > lab.toml <<'END-OF-SETTINGS'\n{settings}END-OF-SETTINGS\n"
    )


def _own_address(public_url: str) -> Mapping[str, str]:
    port = urlsplit(public_url).port
    return {"BASE_PUBLIC_URL": public_url, **({} if port is None else {"PORT": str(port)})}


def _write(folder: Path, variables: str, settings: str) -> None:
    config, environment = folder / "lab.toml", folder / "lab.env"
    config.write_text(settings, encoding="utf-8")
    environment.write_text(variables + exports({"RELEVO_CONFIG": str(config)}), encoding="utf-8")
    click.echo(f"# variables: {environment}\n# settings:  {config}")


def _show_a_call(running: Lab) -> None:
    """Somebody who asks for an advisor, with what one advisor and the other do; for a shell."""
    twilio_url = running.twilio_url
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
