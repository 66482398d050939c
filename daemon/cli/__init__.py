"""The console script `relevo`.

Exit codes: 0 done; 1 failed; 2 wrong usage; 78 wrong settings, so that systemd does not restart in vain. A
failure is one clear sentence on standard error, never a traceback.
"""

import sys
from collections.abc import Sequence

import click

from daemon.cli import agent, batch, check, conversation, demo, lab, migrate, run, status
from daemon.cli.failure import failure_of


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="relevo")
def relevo() -> None:
    """A finished call goes on in WhatsApp."""


for command in (
    run.run,
    demo.demo,
    lab.lab,
    check.check,
    status.status,
    batch.batch,
    conversation.conversation,
    agent.agent,
    migrate.migrate,
):
    relevo.add_command(command)


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
