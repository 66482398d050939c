"""Whatever the file and the environment hold ends in settings, or in a report that can be printed."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.settings import Settings, SettingsError, load_settings
from daemon.settings.environment import SECRETS, VARIABLES

ANY_KEY = [
    "advisors",
    "base_url",
    "busy",
    "data_dir",
    "drain_s",
    "level",
    "opening",
    "opening_template_variables",
    "port",
    "public_url",
    "timezone",
    "token",
    "url",
    "whatsapp_from",
    "é\u0001",
]
ANY_TOML_VALUE = st.recursive(
    st.booleans()
    | st.integers()
    | st.integers().map(lambda number: number * 10**5000)
    | st.floats()
    | st.text()
    | st.dates()
    | st.datetimes()
    | st.sampled_from(["https://a", "+573001234567", "{{ name }}", "{% if", "UTC"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@given(value=ANY_TOML_VALUE, key=st.sampled_from(sorted(set(VARIABLES.values()))))
def test_a_known_key_may_have_any_value(value: object, key: str) -> None:
    table, _, name = key.partition(".")
    _settle({table: {name: value}})


@given(
    tables=st.dictionaries(
        st.sampled_from(
            ["http", "store", "whatsapp", "transfer", "texts", "follow_up", "log", "twilio", "x"]
        ),
        ANY_TOML_VALUE
        | st.dictionaries(
            st.sampled_from(ANY_KEY),
            ANY_TOML_VALUE
            | st.lists(
                st.dictionaries(st.sampled_from(["name", "phone", "topics"]), ANY_TOML_VALUE), max_size=2
            ),
        ),
    )
)
def test_tables_may_have_any_content(tables: dict[str, object]) -> None:
    _settle(tables)


@given(environ=st.dictionaries(st.sampled_from([*VARIABLES, *SECRETS]), st.text()))
def test_the_environment_may_have_any_content(
    environ: dict[str, str],
) -> None:
    loaded = _load_or_error(environ)
    if isinstance(loaded, Settings):
        assert set(loaded.origins.values()) <= {f"environment variable {name}" for name in environ}


@given(content=st.binary() | st.text().map(str.encode))
def test_the_file_may_have_any_content(content: bytes) -> None:
    Path("config.toml").write_bytes(content)
    _load_or_error({})


def _settle(tables: dict[str, object]) -> None:
    """Load what a TOML file might have held, past the parser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daemon.settings.load.read_toml", lambda path: tables)
        _load_or_error({})


def _load_or_error(environ: Mapping[str, str]) -> Settings | SettingsError:
    try:
        return load_settings(None, environ, require=())
    except SettingsError as error:
        caught = error
    assert str(caught).encode()
    assert all(problem.sentence and problem.mend for problem in caught.problems)
    return caught
