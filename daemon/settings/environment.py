"""What the environment and the credential files say."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from daemon.settings.model import Secrets
from daemon.settings.problems import Problem
from daemon.settings.rules import whatsapp_number

CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"

VARIABLES: Final[Mapping[str, str]] = {
    "PORT": "http.port",
    "BASE_PUBLIC_URL": "http.public_url",
    "DATABASE_URL": "store.url",
    "ELEVENLABS_BASE_URL": "elevenlabs.base_url",
    "DEFAULT_AGENT_ID": "elevenlabs.text_agent_id",
    "ELEVENLABS_AGENT_ID": "elevenlabs.voice_agent_id",
    "TWILIO_WHATSAPP_FROM": "twilio.whatsapp_from",
    "TWILIO_WHATSAPP_NUMBER": "twilio.whatsapp_from",
    "TWILIO_NUMBER": "twilio.voice_number",
    "TWILIO_TWIML_APP_SID": "twilio.twiml_app_sid",
    "TWILIO_BASE_URL": "twilio.base_url",
    "CALL_TIMEOUT_SECONDS": "transfer.ring_timeout_s",
    "HOLD_MUSIC_URL": "transfer.hold_music_url",
}
"""Setting by environment variable."""

SECRETS: Final[Mapping[str, str]] = {
    "ELEVENLABS_API_KEY": "elevenlabs_api_key",
    "ELEVENLABS_WEBHOOK_SECRET": "elevenlabs_webhook_secret",
    "TWILIO_ACCOUNT_SID": "twilio_account_sid",
    "TWILIO_AUTH_TOKEN": "twilio_auth_token",
    "TWILIO_AUTH_TOKEN_SECONDARY": "twilio_auth_token_secondary",
    "RELEVO_ADMIN_TOKEN": "admin_token",
    "RELEVO_TOOL_TOKEN": "tool_token",
}
"""Attribute of `Secrets` by environment variable, which is the name of its credential file too."""

_NUMERIC: Final = frozenset({"PORT", "CALL_TIMEOUT_SECONDS"})
# Its URL may carry a password, so it may come as a credential file like a secret.
_ALSO_CREDENTIAL_FILE: Final = frozenset({"DATABASE_URL"})
_ADMIN_TOKEN_MIN_CHARACTERS: Final = 16


@frozen(kw_only=True)
class Given:
    """A value from outside the file, for a setting or a secret (then `key` is the secret's name)."""

    key: str
    value: str | float
    source: str


def given_settings(environ: Mapping[str, str]) -> Iterator[Given | Problem]:
    """A variable that is set to nothing counts as not set."""
    for name, key in VARIABLES.items():
        found = _find(name, environ, in_file=name in _ALSO_CREDENTIAL_FILE)
        if isinstance(found, Given):
            value = _number(str(found.value)) if name in _NUMERIC else found.value
            yield evolve(found, key=key, value=value)
        elif found is not None:
            yield evolve(found, key=key)
    yield from _two_senders(environ)


def given_secrets(environ: Mapping[str, str]) -> Iterator[Given | Problem]:
    for name in SECRETS:
        found = _find(name, environ, in_file=True)
        if isinstance(found, Given):
            flaw = _secret_flaw(name, str(found.value))
            yield (
                found
                if flaw is None
                else Problem(key=name, sentence=flaw[0], source=found.source, mend=flaw[1])
            )
        elif found is not None:
            yield found


def secrets_of(given: Mapping[str, str]) -> Secrets:
    """From values by name."""
    values = {attribute: given[name] for name, attribute in SECRETS.items() if name in given}
    return Secrets(**values)


def named_secrets(secrets: Secrets) -> Mapping[str, str]:
    """The values by name."""
    return {name: getattr(secrets, attribute) for name, attribute in SECRETS.items()}


def how_to_set_secret(name: str) -> str:
    return f"set the environment variable {name}, or put it into the file {name} in ${CREDENTIALS_DIRECTORY}"


def secret_meant_by(path: tuple[str, ...]) -> str | None:
    """The secret that somebody tried to put into the file under this path."""
    last = path[-1].lower().replace("-", "_")
    spellings = {last, "_".join([*path[:-1], last]).lower()}
    for name in SECRETS:
        if spellings & {name.lower(), name.lower().removeprefix("relevo_")}:
            return name
    return None


def variables_for(key: str) -> list[str]:
    return [name for name, target in VARIABLES.items() if target == key]


def _find(name: str, environ: Mapping[str, str], *, in_file: bool) -> Given | Problem | None:
    value = environ.get(name, "").strip()
    if value:
        return Given(key=name, value=value, source=f"environment variable {name}")
    directory = environ.get(CREDENTIALS_DIRECTORY, "")
    return _read_credential(name, Path(directory)) if in_file and directory else None


def _read_credential(name: str, directory: Path) -> Given | Problem | None:
    path = directory / name
    source = f"credential file {path}"
    try:
        value = path.read_bytes().decode().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        sentence = f"the file cannot be read ({error.strerror})"
    except ValueError:
        sentence = "the file is no UTF-8 text"
    else:
        return Given(key=name, value=value, source=source) if value else None
    return Problem(key=name, sentence=sentence, source=source, mend=how_to_set_secret(name))


def _secret_flaw(name: str, value: str) -> tuple[str, str] | None:
    """Sentence and remedy. Secrets travel in HTTP headers, where nothing but visible ASCII is safe."""
    if not (value.isascii() and value.isprintable() and " " not in value):
        return (
            "holds a space, a line break or a letter outside ASCII",
            "copy the secret again, and nothing else",
        )
    if name == "RELEVO_ADMIN_TOKEN" and len(value) < _ADMIN_TOKEN_MIN_CHARACTERS:
        return (
            f"expected at least {_ADMIN_TOKEN_MIN_CHARACTERS} characters, got {len(value)}",
            "make one with: openssl rand -hex 32",
        )
    return None


def _two_senders(environ: Mapping[str, str]) -> Iterator[Problem]:
    names = variables_for("twilio.whatsapp_from")
    numbers = {_sender(environ[name]) for name in names if environ.get(name, "").strip()}
    if len(numbers) > 1:
        yield Problem(
            key="twilio.whatsapp_from",
            sentence=f"{' and '.join(names)} name two different senders",
            source=f"environment variables {' and '.join(names)}",
            mend=f"set {names[0]} only",
        )


def _sender(text: str) -> str:
    try:
        return whatsapp_number(text)
    except ValueError:
        return text


def _number(text: str) -> str | float:
    """The number that the text spells; any other text as it is, for the type check to complain about."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text
