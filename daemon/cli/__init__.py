"""The console script `relevo`.

Exit codes: 0 done; 1 failed; 2 wrong usage; 78 wrong settings, so that systemd does not restart in vain. A
failure is one clear sentence on standard error, never a traceback.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import cast

import click
from typing_extensions import override

COMMANDS = ("run", "demo", "lab", "check", "status", "batch", "conversation", "agent", "migrate")
"""Each stands in the module of its name, as the object of its name."""


class LazyGroup(click.Group):
    """Imports no more than the command that is called: all of them together take seconds."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return cast("click.Command", getattr(import_module(f"daemon.cli.{cmd_name}"), cmd_name))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="relevo")
def relevo() -> None:
    """A finished call goes on in WhatsApp."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave the process with its exit code."""
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: Sequence[str] | None) -> int:
    try:
        code = relevo.main(arguments, prog_name="relevo", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    # The outermost crash boundary: what is expected has a sentence, and a bug is shown as one.
    except BaseException as error:
        if _is_interrupt(error):
            return 130
        from daemon.cli.expected import failure_of  # noqa: PLC0415 -- who does not fail need not import it

        failure = failure_of(error)
        if failure is None:
            raise
        click.echo(f"relevo: {failure.sentence}", err=True)
        return failure.exit_code
    return code if isinstance(code, int) else 0


def _is_interrupt(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_interrupt(inner) for inner in error.exceptions)
    return isinstance(error, KeyboardInterrupt)


__all__ = ["main"]
