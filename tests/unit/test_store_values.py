"""What PostgreSQL cannot store does not keep the rest from being stored."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.store.context import excerpt
from daemon.store.values import id_array, storable, storable_or_none, to_jsonb

ANY_TEXT = st.text(st.characters(exclude_categories=()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "stored"),
    [("hola", "hola"), ("ho\x00la\x00", "hola"), ("🙂 \ud83d!", "🙂 ?!"), ("", "")],
)
def test_text_loses_nul_and_half_surrogates(text: str, stored: str) -> None:
    assert storable(text) == stored


@pytest.mark.parametrize(("text", "stored"), [(None, None), ("", None), ("Ana", "Ana")])
def test_empty_text_may_count_as_none(text: str | None, stored: str | None) -> None:
    assert storable_or_none(text) == stored


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a": "x\x00y"}, {"a": "xy"}),
        ({"a": "\x00\x00"}, {"a": ""}),
        ({"a": "\\u0000"}, {"a": "\\u0000"}),
        ({"a": "\\\x00\\"}, {"a": "\\\\"}),
        ({"á": ["ñ", "\ud83d"]}, {"á": ["ñ", "?"]}),
    ],
)
def test_json_loses_nul_and_half_surrogates(value: dict[str, object], stored: object) -> None:
    assert json.loads(to_jsonb(value)) == stored


def test_json_has_no_numbers_that_are_none() -> None:
    value = {"a": [math.inf, -math.inf, math.nan, 1.5], "b": (math.nan,), "c": "NaN"}

    assert json.loads(to_jsonb(value)) == {"a": [None, None, None, 1.5], "b": [None], "c": "NaN"}


@given(st.dictionaries(ANY_TEXT, JSON))
def test_json_stays_json_that_postgresql_takes(value: dict[str, object]) -> None:
    text = to_jsonb(value)

    assert "\x00" not in json.dumps(json.loads(text), ensure_ascii=False)
    text.encode()


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), JSON))
def test_json_without_such_characters_stays_as_it_is(value: dict[str, object]) -> None:
    clean = json.loads(to_jsonb(value))

    assert json.loads(to_jsonb(clean)) == clean


@pytest.mark.parametrize(
    ("ids", "literal"), [([], "{}"), ([1], "{1}"), ([70000, 2**40], "{70000,1099511627776}")]
)
def test_ids_make_one_array_literal(ids: list[int], literal: str) -> None:
    assert id_array(ids) == literal


def test_an_excerpt_is_the_end_in_whole_lines() -> None:
    said = [("user", f"{number:03} " + 90 * "x") for number in range(50)]

    lines = excerpt(said).splitlines()

    assert lines[-1] == "user: 049 " + 90 * "x"
    assert all(line.startswith("user: ") for line in lines)
    assert 18 <= len(lines) <= 20


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], ""),
        ([("agent", "Hola"), ("user", "Sí")], "agent: Hola\nuser: Sí"),
        ([("user", 3000 * "x")], 2000 * "x"),
    ],
)
def test_an_excerpt_of_little_or_of_one_long_line(said: list[tuple[str, str]], expected: str) -> None:
    assert excerpt(said) == expected
