"""The words of live calls: templates of the operator's that a call cannot fail by."""

import unicodedata

from attrs import evolve, fields
from hypothesis import given
from hypothesis import strategies as st

from actors.live_call.wording import SPOKEN, CallFacts, Words, WordSources, find_word_flaw
from daemon.settings import Settings

SOURCES = Settings().word_sources
WORDS = Words(SOURCES)

facts = st.builds(
    CallFacts,
    name=st.text(max_size=400),
    digits=st.text(max_size=10),
    reason=st.text(max_size=400),
    advisor=st.text(max_size=40),
    missed=st.sampled_from(["", "busy", "failed", "no_answer", "declined"]),
)


def test_every_text_that_ships_can_be_said_of_every_call() -> None:
    for attribute in fields(WordSources):
        assert find_word_flaw(getattr(SOURCES, attribute.name)) is None, attribute.name


@given(facts, st.sampled_from([attribute.name for attribute in fields(WordSources)]))
def test_what_is_said_is_one_line_whatever_a_caller_calls_himself(told: CallFacts, name: str) -> None:
    said = WORDS.say(name, told)
    assert said
    assert said == " ".join(said.split())
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in said)


def test_the_whisper_tells_the_last_four_digits_and_no_more() -> None:
    told = CallFacts(name="Ana", number="+525512345678", digits="5678", reason="una factura")
    said = WORDS.say("whisper", told)
    assert "5678" in said
    assert "5512345678" not in said
    assert "una factura" in said


def test_a_value_is_never_a_template() -> None:
    assert "49" not in WORDS.say("whisper", CallFacts(name="{{ 7 * 7 }}"))


def test_a_template_that_fails_costs_its_sentence_and_not_the_call() -> None:
    broken = Words(evolve(SOURCES, goodbye="{{ 1 / 0 }}"))
    assert broken.say("goodbye") == "goodbye"


def test_what_is_spoken_beforehand_is_the_same_in_every_call() -> None:
    told = CallFacts(name="Ana", digits="1234", reason="x", advisor="y")
    assert all(WORDS.say(name) == WORDS.say(name, told) for name in SPOKEN)


def test_the_variables_of_an_advisors_template_are_never_empty() -> None:
    words = Words(SOURCES, notice_variables={"1": "{{ name }}", "2": "{{ link }}"})
    assert words.notice_variables(CallFacts(link="https://x.y/z")) == {"1": "-", "2": "https://x.y/z"}


def test_an_unknown_variable_is_a_flaw() -> None:
    assert find_word_flaw("{{ nombre }}") is not None
