"""The customer-facing texts."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.calls import CallOutcome
from actors.conversation.texts import CallFacts, TextError, Texts, TextSources, find_flaw, is_blank
from actors.messages import Purpose
from daemon.settings import Settings

DEFAULTS = Settings().text_sources
ANA = CallFacts(
    name="Ana",
    summary="Le interesa el plan anual.",
    pending_questions=["¿Incluye soporte?", "¿Cuánto cuesta?"],
    next_steps=["Enviar la cotización", "Llamar el lunes"],
    links=["https://empresa.com/plan"],
    variables={"product": "Plan anual"},
)


def texts(**sources: Any) -> Texts:
    return Texts(evolve(DEFAULTS, **sources))


class TestDefaultOpening:
    def test_it_greets_says_what_was_said_what_is_open_and_what_was_agreed(self) -> None:
        assert Texts(DEFAULTS).render_opening(ANA) == (
            "¡Hola, Ana!\n"
            "\n"
            "Hace un momento hablamos de: Le interesa el plan anual.\n"
            "\n"
            "Quedó pendiente:\n"
            "• ¿Incluye soporte?\n"
            "• ¿Cuánto cuesta?\n"
            "\n"
            "Acordamos:\n"
            "✓ Enviar la cotización\n"
            "✓ Llamar el lunes\n"
            "\n"
            "Para consultar:\n"
            "https://empresa.com/plan\n"
            "\n"
            "¿Continuamos por aquí?"
        )

    def test_what_a_call_did_not_leave_leaves_no_gap(self) -> None:
        assert Texts(DEFAULTS).render_opening(CallFacts(summary="el plan")) == (
            "¡Hola!\n\nHace un momento hablamos de: el plan\n\n¿Continuamos por aquí?"
        )

    @pytest.mark.parametrize("summary", ["", "  \n", "\u200b"])
    def test_without_a_summary_it_claims_none(self, summary: str) -> None:
        opening = Texts(DEFAULTS).render_opening(CallFacts(name="Ana", summary=summary))
        assert opening.startswith("¡Hola, Ana!")
        assert "hablamos de:" not in opening


class TestFollowUp:
    def test_each_outcome_has_its_own_text_or_none(self) -> None:
        written = texts(follow_ups={CallOutcome.VOICEMAIL: "Hola {{ name }}", CallOutcome.BUSY: " "})
        assert written.render_follow_up(CallOutcome.VOICEMAIL, ANA) == "Hola Ana"
        assert written.render_follow_up(CallOutcome.BUSY, ANA) is None
        assert written.render_follow_up(CallOutcome.CANCELLED, ANA) is None
        assert written.render_follow_up(CallOutcome.COMPLETED, ANA) == written.render_opening(ANA)


class TestValues:
    def test_a_value_is_data_and_never_a_template(self) -> None:
        evil = CallFacts(name="{{ 7 * 7 }}", summary="{% for x in y %}<b>&")
        assert (
            texts(opening="{{ name }} {{ summary }}").render_opening(evil)
            == "{{ 7 * 7 }} {% for x in y %}<b>&"
        )

    def test_control_characters_and_direction_marks_are_dropped(self) -> None:
        facts = CallFacts(name="A\x00n\x1ba\r\nMaría", summary="uno\r\ndos\u2028tres\t\u202ecuatro\x07\ud800")
        assert (
            texts(opening="{{ name }}|{{ summary }}").render_opening(facts)
            == "Ana María|uno\ndos\ntres cuatro"
        )

    def test_a_list_loses_its_blank_entries_and_its_line_breaks(self) -> None:
        facts = CallFacts(summary="s", next_steps=["a\nb", " ", "c"])
        assert texts(opening="{{ next_steps | join('|') }}").render_opening(facts) == "a b|c"

    def test_joined_emoji_stay_together(self) -> None:
        family = "👩‍👩‍👧"
        assert texts(opening="{{ name }}").render_opening(CallFacts(name=family, summary="s")) == family

    def test_variables_of_the_call_are_there_by_name_and_product_by_itself(self) -> None:
        facts = evolve(
            ANA,
            variables={"product": "Seguro\n vida", "price": 12.5, "nothing": None, "deep": {"a": ["\x00b"]}},
        )
        opening = "{{ product }}|{{ variables.price }}|{{ variables.nothing }}|{{ variables.deep.a[0] }}"
        assert texts(opening=opening).render_opening(facts) == "Seguro vida|12.5||b"

    @given(facts=st.builds(CallFacts, name=st.text(), summary=st.text(), next_steps=st.lists(st.text())))
    def test_the_default_texts_never_fail_and_are_always_fit_to_send(self, facts: CallFacts) -> None:
        written = Texts(DEFAULTS)
        for text in (
            written.render_opening(facts),
            *written.render_template_variables(Purpose.OPENING, facts).values(),
        ):
            assert text == text.strip()
            assert not is_blank(text)
            assert "\x00" not in text
            assert text.encode()


class TestTemplateVariables:
    def test_each_is_one_line_of_single_spaces(self) -> None:
        written = texts(
            opening_variables={"1": "{{ name or 'cliente' }}", "2": "{{ summary }}\n\tfin     ya"}
        )
        found = written.render_template_variables(Purpose.OPENING, evolve(ANA, name="", summary="uno\n\ndos"))
        assert found == {"1": "cliente", "2": "uno dos fin ya"}

    def test_a_long_one_is_cut_at_a_word(self) -> None:
        written = texts(opening_variables={"1": "{{ summary }}", "2": "{{ name }}"})
        found = written.render_template_variables(
            Purpose.OPENING, CallFacts(summary="palabra " * 100, name="x" * 600)
        )
        assert found["1"].endswith("palabra…")
        assert max(map(len, found.values())) == 512

    def test_an_empty_one_is_an_error(self) -> None:
        with pytest.raises(TextError, match="blank"):
            texts(opening_variables={"1": "{{ name }}"}).render_template_variables(
                Purpose.OPENING, CallFacts()
            )

    def test_answers_and_fallbacks_reopen(self) -> None:
        written = texts(opening_variables={"1": "o"}, reopen_variables={"1": "r"})
        purposes = (Purpose.OPENING, Purpose.ANSWER, Purpose.FALLBACK)
        found = [written.render_template_variables(purpose, ANA)["1"] for purpose in purposes]
        assert found == ["o", "r", "r"]


class TestTemplates:
    def test_a_text_without_ink_is_an_error(self) -> None:
        with pytest.raises(TextError, match="blank"):
            texts(opening="{{ name }} \u200b").render_opening(CallFacts(summary="s"))

    def test_a_missing_variable_is_an_error_and_not_a_gap(self) -> None:
        with pytest.raises(TextError, match="campaign"):
            texts(opening="Hola {{ variables.campaign }}").render_opening(ANA)

    def test_one_that_does_not_compile_is_an_error_at_once(self) -> None:
        with pytest.raises(TextError, match="'opening'"):
            texts(opening="{{ name")

    @pytest.mark.parametrize(
        ("source", "line", "part"),
        [
            ("Hola\n{{ name", 2, "unexpected end"),
            ("Hola\n\n{{ nombre }}", 3, "there is no variable 'nombre'"),
            ("{{ name | mayus }}", 1, "No filter named 'mayus'"),
            ("Hola\n{{ variables.campaign }}", 2, "'campaign'"),
            ("a\n{{ 1 / 0 }}", 2, "division by zero"),
            ("{{ name.__class__.__mro__ }}", 1, "unsafe"),
            ("{% for i in range(1000000) %}{% endfor %}", 1, "Range too big"),
            ("{% include 'other' %}", 1, "no loader"),
            ("{{ name }}", None, "for a call that left no name and no details: the text is blank"),
            ("{{ " + "(" * 3000, None, "recursion"),
        ],
    )
    def test_a_flaw_is_found_beforehand_with_its_line(self, source: str, line: int | None, part: str) -> None:
        flaw = find_flaw(source)
        assert flaw is not None
        assert flaw.line == line
        assert part in flaw.sentence

    @pytest.mark.parametrize(
        "source",
        [
            "Hola {{ name | default('x') }}",
            "Hola {{ variables.campaign | default('') }}",
            "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(name) }}.",
            "{% set n = name %}{{ n }}{% for i in range(2) %}{{ loop.index }}{% endfor %}",
        ],
    )
    def test_a_sound_template_has_no_flaw(self, source: str) -> None:
        assert find_flaw(source) is None

    def test_a_summary_may_be_counted_on_where_it_is_given(self) -> None:
        assert find_flaw("{{ summary }}", needs_summary=True) is None
        assert find_flaw("{{ summary }}") is not None

    @given(source=st.text() | st.text(alphabet="{}%# abname|.()'\"\n-"))
    def test_any_source_has_a_flaw_or_renders(self, source: str) -> None:
        if find_flaw(source) is None:
            sources = TextSources(opening=source, opening_without_summary=source, fallback="x")
            assert not is_blank(Texts(sources).render_opening(CallFacts()))
