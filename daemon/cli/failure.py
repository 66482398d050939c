"""How a command says that it has failed."""

from attrs import frozen

FAILED = 1
WRONG_SETTINGS = 78


@frozen
class CommandFailedError(Exception):
    """Ends a command with this sentence and exit code."""

    sentence: str
    exit_code: int = FAILED
