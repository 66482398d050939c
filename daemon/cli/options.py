"""What several commands share: the settings option, and how logs are written."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from daemon.observability.logging import configure_logging
from daemon.settings import REQUIRED_TO_RUN, Settings, load_settings

F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """`--config FILE`, else `RELEVO_CONFIG`, else `./config.toml`."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="Settings file; else the one RELEVO_CONFIG names, else ./config.toml.",
    )(command)


def settings_for(config_path: Path | None, *, require: Iterable[str] = REQUIRED_TO_RUN) -> Settings:
    """The settings, with logging set up as they say."""
    settings = load_settings(config_path, os.environ, require=require)
    is_json = settings.log.format == "json" or (settings.log.format == "auto" and not sys.stderr.isatty())
    configure_logging(json=is_json, level=settings.log.level)
    return settings


def log_to_terminal(level: str) -> None:
    """Readable logs on standard error, for commands that are not the daemon."""
    configure_logging(json=False, level=level)
