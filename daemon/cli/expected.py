"""Which errors a command may end with, and what it says then. Imports whatever has an error of its own."""

import httpx

from actors.ports import StoreUnavailableError, VendorRefusedError, VendorUnavailableError
from actors.runtime.supervisor import SupervisorGaveUpError
from daemon.cli.failure import WRONG_SETTINGS, CommandFailedError
from daemon.httpserver import CannotListenError
from daemon.settings import SettingsError
from daemon.store.embedded import EmbeddedServerError
from daemon.store.migrate import MigrationError

EXPECTED = (
    StoreUnavailableError,
    VendorUnavailableError,
    VendorRefusedError,
    SupervisorGaveUpError,
    CannotListenError,
    EmbeddedServerError,
    MigrationError,
)


def failure_of(error: BaseException) -> CommandFailedError | None:
    """What to say of an error; None for one that nobody expected. Of a group, its first expected member."""
    if isinstance(error, BaseExceptionGroup):
        failures = [failure_of(inner) for inner in error.exceptions]
        return next((failure for failure in failures if failure is not None), None)
    if isinstance(error, CommandFailedError):
        return error
    if isinstance(error, SettingsError):
        return CommandFailedError(str(error), WRONG_SETTINGS)
    if isinstance(error, httpx.HTTPError):
        return CommandFailedError(f"no usable answer: {str(error) or type(error).__name__}")
    # libpq's sentences go over several lines.
    return CommandFailedError(" ".join(str(error).split())) if isinstance(error, EXPECTED) else None
