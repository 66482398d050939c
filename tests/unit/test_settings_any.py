"""Whatever the file and the environment hold ends in settings, or in a report that can be printed."""

import copy
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.settings import Settings, SettingsError, load_settings
from daemon.settings.environment import SECRETS, VARIABLES
from daemon.settings.load import TABLES

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


def keys_of(table: type) -> dict[str, object]:
    """Every key of a table with its default as TOML writes it."""
    return {attribute.name: _as_toml(attribute.default) for attribute in attrs.fields(table)}


def _as_toml(default: object) -> object:
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()  # type: ignore[attr-defined]
    if isinstance(default, Mapping):
        return dict(default)
    if isinstance(default, tuple):
        return list(default)
    return str(default) if isinstance(default, Path) else default


ALL_KEYS = [(table, key) for table, shape in TABLES.items() for key in keys_of(shape)]


@given(chosen=st.sets(st.sampled_from(ALL_KEYS)))
def test_any_part_of_the_defaults_written_out_is_the_defaults(chosen: set[tuple[str, str]]) -> None:
    tables: dict[str, dict[str, object]] = {}
    for table, key in sorted(chosen):
        tables.setdefault(table, {})[key] = keys_of(TABLES[table])[key]
    settings = _settle(tables)

    assert isinstance(settings, Settings)
    assert attrs.evolve(settings, origins={}) == attrs.evolve(Settings(), origins={})
    assert set(settings.origins) == {f"{table}.{key}" for table, key in chosen}


@given(
    chosen=st.dictionaries(st.sampled_from(ALL_KEYS), ANY_TOML_VALUE, max_size=6),
    unknown=st.sampled_from(["ports", "x", "é\u0001", "a b"]),
)
def test_what_is_loaded_stands_in_the_file_and_what_does_not_is_told(
    chosen: dict[tuple[str, str], object], unknown: str
) -> None:
    """A key is taken with its value or named with its problem; nothing is dropped in silence."""
    tables: dict[str, dict[str, object]] = {"http": {unknown: 1}}
    for (table, key), value in chosen.items():
        tables.setdefault(table, {})[key] = value
    refused = _settle(tables)
    assert isinstance(refused, SettingsError)
    assert any(unknown in problem.key or "\\" in problem.key for problem in refused.problems)

    del tables["http"][unknown]
    loaded = _settle(tables)
    if isinstance(loaded, Settings):
        assert set(loaded.origins) == {f"{table}.{key}" for table, key in chosen}
        return
    for problem in loaded.problems:
        assert problem.key.partition(".")[0] in tables
        assert problem.source == "config.toml"


@given(chosen=st.dictionaries(st.sampled_from(ALL_KEYS), ANY_TOML_VALUE, max_size=8))
def test_valid_settings_written_out_and_read_again_are_the_same(
    chosen: dict[tuple[str, str], object],
) -> None:
    loaded: Settings | SettingsError = Settings()
    tables: dict[str, dict[str, object]] = {}
    for (table, key), value in chosen.items():  # what is valid of it
        one_more = {**tables, table: {**tables.get(table, {}), key: value}}
        tried = _settle(one_more)
        if isinstance(tried, Settings):
            tables, loaded = one_more, tried
    assert isinstance(loaded, Settings)
    written = {
        name: {key: _as_toml(getattr(getattr(loaded, name), key)) for key in keys_of(shape)}
        for name, shape in TABLES.items()
        if not getattr(getattr(loaded, name), "advisors", ())
    }
    again = _settle(written)

    assert isinstance(again, Settings)
    assert [getattr(again, name) for name in written] == [getattr(loaded, name) for name in written]


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


def _settle(tables: Mapping[str, object]) -> Settings | SettingsError:
    """Load what a TOML file might have held, past the parser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daemon.settings.load.read_toml", lambda path: copy.deepcopy(tables))
        return _load_or_error({})


def _load_or_error(environ: Mapping[str, str]) -> Settings | SettingsError:
    try:
        return load_settings(None, environ, require=())
    except SettingsError as error:
        caught = error
    assert str(caught).encode()
    assert all(problem.sentence and problem.mend for problem in caught.problems)
    return caught
