"""The `config.toml` that ships: every key, its default, one line about it."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from attrs import fields, has

from daemon.settings import Advisor, Settings, load_settings
from daemon.settings.environment import SECRETS, VARIABLES
from daemon.settings.load import TABLES

SHIPPED = Path(__file__).parents[2] / "config.toml"
TEXT = SHIPPED.read_text(encoding="utf-8")


def keys_of(table: str) -> set[str]:
    return {attribute.name for attribute in fields(TABLES[table])}


def test_it_holds_exactly_the_defaults() -> None:
    assert load_settings(SHIPPED, {}, require=()) == Settings()


def test_every_table_is_a_class_of_settings() -> None:
    assert all(has(table) for table in TABLES.values())
    assert tomllib.loads(TEXT).keys() == TABLES.keys()


@pytest.mark.parametrize("table", sorted(TABLES))
def test_it_names_every_key(table: str) -> None:
    shown_as_comment = {"advisors"} if table == "transfer" else set()
    assert tomllib.loads(TEXT)[table].keys() == keys_of(table) - shown_as_comment


def test_its_example_of_an_advisor_names_every_key_and_works(tmp_path: Path) -> None:
    example = re.findall(r"^# (\[\[transfer\.advisors\]\]|\w+ = .+)$", TEXT, re.MULTILINE)
    (tmp_path / "config.toml").write_text("\n".join(example), encoding="utf-8")
    settings = load_settings(tmp_path / "config.toml", {}, require=())
    assert len(settings.transfer.advisors) == 1
    assert all(getattr(settings.transfer.advisors[0], field.name) for field in fields(Advisor))


def test_every_key_has_one_line_of_comment_above_it() -> None:
    lines = _without_multiline_texts(TEXT).splitlines()
    for before, line in pairwise(lines):
        if re.match(r"\w+ = ", line):
            assert re.match(r"# .+[.)]$|# .+ \{\} for none\.$", before), line


@pytest.mark.parametrize("variable", sorted(VARIABLES))
def test_a_key_with_a_variable_names_it(variable: str) -> None:
    name = VARIABLES[variable].partition(".")[2]
    assert re.search(rf"^# .*\b{variable}\b.*\n{name} = ", TEXT, re.MULTILINE)


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_every_secret_is_named_as_a_variable(secret: str) -> None:
    assert re.search(rf"^#   {secret}\b", TEXT, re.MULTILINE)


def _without_multiline_texts(toml: str) -> str:
    return re.sub(r'"""\n.*?"""', '""', toml, flags=re.DOTALL)
