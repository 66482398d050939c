"""Reading the settings: defaults, then `config.toml`, then the environment; every problem in one report."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from attrs import define, field, fields, fields_dict

from daemon.settings.consistency import find_conflicts
from daemon.settings.environment import (
    SECRETS,
    Given,
    given_secrets,
    given_settings,
    how_to_set_secret,
    secrets_of,
    variables_for,
)
from daemon.settings.model import Settings
from daemon.settings.problems import Flaw, Problem, SettingsError, UnfitError, printable
from daemon.settings.structure import default_of, structure_table, unknown_key
from daemon.settings.toml_file import read_toml

REQUIRED_TO_RUN: Final = frozenset(
    {
        "http.public_url",
        "elevenlabs.text_agent_id",
        "twilio.whatsapp_from",
        "ELEVENLABS_API_KEY",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "RELEVO_ADMIN_TOKEN",
    }
)
"""Keys and secrets without which the daemon does not start."""

TABLES: Final[Mapping[str, type]] = {
    attribute.name: attribute.type
    for attribute in fields(Settings)
    if attribute.type is not None and attribute.name not in {"secrets", "origins"}
}

_DEFAULT_PATH: Final = Path("config.toml")


def load_settings(
    config_path: Path | None, environ: Mapping[str, str], *, require: Iterable[str] = REQUIRED_TO_RUN
) -> Settings:
    """Read everything there is.

    The file is `config_path`, else the one that `RELEVO_CONFIG` names, else `./config.toml`, which alone may
    be missing. `require` names the settings (`http.public_url`) and secrets (`ELEVENLABS_API_KEY`) that must
    not be missing.

    Raises:
        SettingsError: with every problem found.
    """
    reading = _Reading()
    reading.read_file(config_path, environ)
    reading.overlay(given_settings(environ))
    reading.read_secrets(given_secrets(environ))
    settings = reading.structure()
    reading.check_required(require)
    if reading.problems:
        raise SettingsError(reading.problems)
    return settings


@define
class _Reading:
    """Settings in the making.

    Attributes:
        tables: the file's content with the environment laid over it.
        origins: where the value of a key came from; keys of the file are not listed before they are used.
        has_file_failed: the file is there and nothing is known of what it says.
    """

    problems: list[Problem] = field(factory=list)
    tables: dict[str, Any] = field(factory=dict)
    origins: dict[str, str] = field(factory=dict)
    secrets: dict[str, str] = field(factory=dict)
    file_name: str = str(_DEFAULT_PATH)
    has_file_failed: bool = False

    def read_file(self, config_path: Path | None, environ: Mapping[str, str]) -> None:
        named = environ.get("RELEVO_CONFIG", "")
        path = config_path or (Path(named) if named else _DEFAULT_PATH)
        self.file_name = printable(str(path))
        try:
            self.tables = dict(read_toml(path))
        except FileNotFoundError:
            if config_path is not None or named:
                by = "the command line" if config_path is not None else "RELEVO_CONFIG"
                self._fail_file("there is no such file", mend=f"mend the path, which {by} names")
        except UnfitError as error:
            self._fail_file(str(error), mend=error.mend)

    def overlay(self, found: Iterable[Given | Problem]) -> None:
        for one in found:
            if isinstance(one, Problem):
                self.problems.append(one)
                continue
            table, _, name = one.key.partition(".")
            values = self.tables.setdefault(table, {})
            # What else stands there will be reported.
            if isinstance(values, dict) and self.origins.get(one.key) is None:
                values[name] = one.value
                self.origins[one.key] = one.source

    def read_secrets(self, found: Iterable[Given | Problem]) -> None:
        for one in found:
            if isinstance(one, Problem):
                self.problems.append(one)
            else:
                self.secrets[one.key] = str(one.value)
                self.origins[one.key] = one.source

    def structure(self) -> Settings:
        """The settings as far as they are right; what is not has its default and its problem."""
        tables: dict[str, Any] = {}
        for name in self.tables:
            if name not in TABLES:
                self._report(unknown_key((name,), self.tables[name], TABLES))
                continue
            table, flaws = structure_table(self.tables[name], TABLES[name], name)
            self._report(flaws)
            if table is not None:
                tables[name] = table
                self._note_origins(name)
        settings = Settings(
            **tables, secrets=secrets_of(self.secrets), origins=MappingProxyType(self.origins)
        )
        sound = frozenset(TABLES) - (frozenset(self.tables) - frozenset(tables))
        self._report(find_conflicts(settings, sound))
        return settings

    def check_required(self, require: Iterable[str]) -> None:
        reported = {problem.key for problem in self.problems}
        for key in sorted(require):
            if key not in reported and self._is_missing(key):
                self.problems.append(self._missing(key))

    def _is_missing(self, key: str) -> bool:
        if key in SECRETS:
            return key not in self.secrets
        table, _, name = key.partition(".")
        values = self.tables.get(table, {})
        # Neither a broken file nor a broken table can tell.
        if (self.has_file_failed and key not in self.origins) or not isinstance(values, dict):
            return False
        value = values.get(name, fields_dict(TABLES[table])[name].default)
        return isinstance(value, str) and not value.strip()

    def _missing(self, key: str) -> Problem:
        if key in SECRETS:
            mend = how_to_set_secret(key)
        else:
            names = " or ".join(variables_for(key))
            mend = f"set {key} in {self.file_name}" + (
                f", or the environment variable {names}" if names else ""
            )
        return Problem(key=key, sentence="is required and not set", source="", mend=mend)

    def _report(self, flaws: Iterable[Flaw]) -> None:
        for flaw in flaws:
            source = self.origins.get(flaw.key, self.file_name)
            self.problems.append(
                Problem(
                    key=flaw.key,
                    sentence=flaw.sentence,
                    source=source,
                    mend=flaw.mend or f"change it{default_of(flaw.key, TABLES)}",
                )
            )

    def _note_origins(self, table: str) -> None:
        for name in self.tables[table]:
            self.origins.setdefault(f"{table}.{name}", self.file_name)

    def _fail_file(self, sentence: str, *, mend: str) -> None:
        self.has_file_failed = True
        self.problems.append(Problem(key="", sentence=sentence, source=self.file_name, mend=mend))
