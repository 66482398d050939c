"""`relevo demo`: a call, its WhatsApp opening, and a conversation, all on this machine."""

import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import click
import trio

from daemon.bootstrap import open_daemon
from daemon.cli.demo_call import RING_S, play_call, show_follow_up
from daemon.cli.demo_talk import Stage, Talk, play, talk_with_terminal, verify
from daemon.cli.lab import lab_settings
from daemon.cli.options import log_to_terminal
from daemon.lab.serving import LabAccount, open_lab
from daemon.lifecycle import Lifecycle, obey_signals
from daemon.settings import Settings, load_settings

CONFIG = """
[conversation]
coalesce_s = 0.4
[monitor]
poll_every_s = 1.0
[log]
level = "warning"
"""

Performance: TypeAlias = Callable[[Stage], Awaitable[None]]


@click.command()
@click.option("--seed", default=0, show_default=True, help="Repeats the simulators' draws.")
@click.option("--call", is_flag=True, help="Play a telephone call that is put through to an advisor.")
@click.option(
    "--into",
    "kept_in",
    default=".",
    show_default=True,
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Where --call writes its picture and its sound.",
)
def demo(seed: int, kept_in: Path, *, call: bool) -> None:
    """Play a finished call that goes on in WhatsApp; you are the customer.

    Starts an embedded PostgreSQL, simulators of ElevenLabs and Twilio, and the real daemon, on loopback and
    in a folder that is removed afterwards. Without a terminal on standard input it plays a whole conversation
    by itself, checks that every message was stored and delivered, and exits.

    With --call somebody calls the agent and asks for an advisor: the first does not answer, the second does. What everybody
    heard is drawn in call.png, and what the caller heard is written to call.wav.
    """
    log_to_terminal("warning")
    performance = partial(_perform_call, kept_in) if call else _perform
    with tempfile.TemporaryDirectory(prefix="relevo-demo-") as folder:
        trio.run(_demo, Path(folder), seed, performance, restrict_keyboard_interrupt_to_checkpoints=True)


async def _demo(folder: Path, seed: int, performance: Performance) -> None:
    lifecycle = Lifecycle()
    public_port, admin_port = _free_port(), _free_port()
    public_url = f"http://127.0.0.1:{public_port}"
    click.echo("Starting PostgreSQL, the simulators and the daemon …")
    async with trio.open_nursery() as nursery:
        await nursery.start(obey_signals, lifecycle, nursery.cancel_scope, name="signals")
        async with open_lab(public_url=public_url, seed=seed) as lab:
            environment = {
                **lab.environment(),
                "PORT": str(public_port),
                "BASE_PUBLIC_URL": public_url,
                "RELEVO_ADMIN_TOKEN": secrets.token_urlsafe(24),
            }
            settings = _settings(folder, environment, admin_port, lab.account)
            async with open_daemon(settings, lifecycle) as daemon:
                stage = Stage(lab=lab, status=daemon.status, settings=settings, admin=daemon.admin)
                await _until_interrupted(lifecycle, performance, stage)
        nursery.cancel_scope.cancel(reason="the demo is over")


async def _until_interrupted(lifecycle: Lifecycle, performance: Performance, stage: Stage) -> None:
    """The performance, until it is over or somebody presses Ctrl-C."""
    stage.introduce()
    async with trio.open_nursery() as nursery:

        async def leave_on_signal() -> None:
            await lifecycle.until_drain()
            nursery.cancel_scope.cancel(reason="interrupted")

        nursery.start_soon(leave_on_signal, name="leave on signal")
        await performance(stage)
        nursery.cancel_scope.cancel(reason="played")


async def _perform(stage: Stage) -> None:
    """A conversation in WhatsApp."""
    talk = Talk(stage)
    await talk.begin()
    if sys.stdin.isatty():
        await talk_with_terminal(talk)
    else:
        await play(talk)
        await verify(talk)


async def _perform_call(folder: Path, stage: Stage) -> None:
    """A telephone call, and the message that follows it."""
    click.echo()
    await play_call(stage.lab, folder)
    await show_follow_up(stage.lab)


def _settings(folder: Path, environment: dict[str, str], admin_port: int, account: LabAccount) -> Settings:
    config = folder / "config.toml"
    config.write_text(
        CONFIG
        + lab_settings(account, admin_port=admin_port, ring_timeout_s=RING_S)
        + f'[store]\ndata_dir = "{folder / "data"}"\n',
        encoding="utf-8",
    )
    return load_settings(config, {"PATH": os.environ.get("PATH", ""), **environment})


def _free_port() -> int:
    """A port that nobody uses now; it has to be known before the daemon starts, for the callback URLs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
