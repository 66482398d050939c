"""A live call's state as it stands in the database: what this version wrote, and what another one did."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.live_call.state import Attempt, CallState, Leg, LegStage, Missed, Mode, Phase, Role, Session
from daemon.store.live_calls import read_state, state_json

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
states = st.builds(
    CallState,
    mode=st.sampled_from(Mode),
    phase=st.sampled_from(Phase),
    legs=st.lists(
        st.builds(
            Leg,
            ordinal=st.integers(1, 9),
            role=st.sampled_from(Role),
            advisor=texts,
            stage=st.sampled_from(LegStage),
            sid=st.none() | texts,
            sequence=st.integers(-1, 9),
            is_unwanted=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    session=st.sampled_from(Session),
    untold=st.none() | st.sampled_from(Missed),
    reason=texts,
    attempts=st.lists(
        st.builds(Attempt, advisor=texts, missed=st.none() | st.sampled_from(Missed)), max_size=3
    ).map(tuple),
    sessions=st.lists(texts, max_size=3).map(tuple),
)


@given(state=states)
def test_a_state_survives_its_storage(state: CallState) -> None:
    assert read_state(json.loads(state_json(state))) == state


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"mode": "direct"}, CallState(mode=Mode.DIRECT)),
        (
            {
                "mode": "conference",
                "phase": "with_agent",
                "invented_later": {"deep": [1]},
                "legs": [{"ordinal": 1, "role": "agent", "codec": "opus"}],
                "attempts": [{"advisor": "Beto", "missed": None, "mood": "fine"}],
            },
            CallState(
                mode=Mode.CONFERENCE,
                phase=Phase.WITH_AGENT,
                legs=(Leg(ordinal=1, role=Role.AGENT),),
                attempts=(Attempt(advisor="Beto", missed=None),),
            ),
        ),
    ],
)
def test_what_is_missing_has_its_default_and_what_is_unknown_is_left_out(
    stored: dict[str, Any], expected: CallState
) -> None:
    assert read_state(stored) == expected


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ValueError, match="at_survey"):
        read_state({"mode": "direct", "phase": "at_survey"})


def test_what_postgresql_cannot_store_is_left_out() -> None:
    spoiled = CallState(mode=Mode.DIRECT, reason="Quiere\0 hablar \ud83d")

    assert read_state(json.loads(state_json(spoiled))).reason == "Quiere hablar ?"
