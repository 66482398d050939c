"""The console script finds its commands, and imports no others."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

import daemon.cli
from daemon.cli import COMMANDS, relevo

LIGHT = ("status", "conversation")
"""What an operator runs again and again."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_found_and_says_what_it_does(name: str) -> None:
    command = relevo.get_command(click.Context(relevo), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str()


def test_every_module_with_a_command_of_its_name_is_listed() -> None:
    modules = {
        path.stem: path.read_text(encoding="utf-8") for path in Path(daemon.cli.__path__[0]).glob("*.py")
    }
    commands = {name for name, text in modules.items() if f"\ndef {name}(" in text and "@click." in text}
    assert commands - {"agent_apply"} == set(COMMANDS)


def test_what_is_no_command_is_none() -> None:
    assert relevo.get_command(click.Context(relevo), "expected") is None
    assert relevo.get_command(click.Context(relevo), "__init__") is None


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_command_does_not_import_the_daemon(name: str) -> None:
    program = f"import daemon.cli.{name}, sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    imported = set(ran.stdout.split())
    assert not imported & {"daemon.bootstrap", "daemon.lab", "numpy", "quart", "twilio"}
