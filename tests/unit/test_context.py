"""What the agent is told before it takes up a conversation again."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from actors.calls import CallOutcome
from actors.conversation.context import facts_of, person_name, session_plan
from actors.conversation.texts import CallFacts
from actors.ports import KnownCall, PersonContext, TimelineMessage

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

CALL = KnownCall(
    id="conv_1",
    agent_id="agent_voice",
    outcome=CallOutcome.COMPLETED,
    started_at=NOW - timedelta(hours=3),
    duration_s=90,
    summary="Le interesa el plan anual.",
    collected={"intent": "compra", "temas": "precio; soporte"},
    variables={"name": "Ana", "product": "Plan anual"},
    transcript_excerpt="agent: Hola\nuser: Buenas",
)
CONTEXT = PersonContext(
    person_id=7,
    conversation_id=3,
    agent_id="agent_text",
    pseudonym="5f1c",
    name="Ana",
    address="+5215512345678",
    window_opened_at=None,
    calls=[CALL],
    messages=[],
)


def message(text: str, *, is_theirs: bool = True) -> TimelineMessage:
    return TimelineMessage(direction="inbound" if is_theirs else "outbound", text=text, at=NOW)


def collecting(**collected: object) -> PersonContext:
    return evolve(CONTEXT, calls=[evolve(CALL, collected=collected)])


def test_a_session_belongs_to_the_text_agent_and_to_a_pseudonym() -> None:
    plan = session_plan(CONTEXT, now=NOW)

    assert plan.agent_id == "agent_text"
    assert plan.user_id == "5f1c"


def test_the_prompt_may_refer_to_the_call() -> None:
    variables = session_plan(CONTEXT, now=NOW).dynamic_variables

    assert variables == {
        "name": "Ana",
        "product": "Plan anual",
        "call_summary": "Le interesa el plan anual.",
        "call_outcome": "completed",
        "call_at": "2026-05-04T09:00+00:00",
        "hours_since_call": 3,
        "intent": "compra",
        "sentiment": "",
        "topics": "precio; soporte",
        "pending_questions": "",
        "next_steps": "",
        "customer_name": "Ana",
        "channel": "whatsapp",
        "is_followup": True,
        "history": "",
    }


def test_somebody_whom_nobody_called_has_no_call_to_refer_to() -> None:
    plan = session_plan(evolve(CONTEXT, calls=[], name=None), now=NOW)

    assert plan.dynamic_variables == {
        "customer_name": "",
        "channel": "whatsapp",
        "is_followup": False,
        "history": "",
    }
    assert plan.context == ""


def test_the_history_is_told_with_who_said_what() -> None:
    messages = [message("Hola, Ana.", is_theirs=False), message("¿Cuánto cuesta?")]
    plan = session_plan(evolve(CONTEXT, messages=messages), now=NOW)

    history = "Tú: Hola, Ana.\nCliente: ¿Cuánto cuesta?"
    assert plan.dynamic_variables["history"] == history
    assert plan.context == (
        "Llamada del 2026-05-04 09:00 UTC: Le interesa el plan anual.\n\n"
        f"Mensajes anteriores por WhatsApp:\n{history}"
    )


def test_an_opening_that_is_about_to_go_is_the_last_thing_said() -> None:
    plan = session_plan(evolve(CONTEXT, messages=[message("Gracias")]), now=NOW, opening="Hola, Ana.")

    assert plan.dynamic_variables["history"] == "Cliente: Gracias\nTú: Hola, Ana."


def test_calls_are_told_in_their_order_and_those_without_words_left_out() -> None:
    newest = evolve(
        CALL, id="conv_3", started_at=NOW, summary=None, transcript_excerpt="agent: Hola de nuevo"
    )
    silent = evolve(CALL, id="conv_2", summary=None, transcript_excerpt="")
    plan = session_plan(evolve(CONTEXT, calls=[newest, silent, CALL]), now=NOW)

    assert plan.context == (
        "Llamada del 2026-05-04 09:00 UTC: Le interesa el plan anual.\n\n"
        "Llamada del 2026-05-04 12:00 UTC: agent: Hola de nuevo"
    )


def test_what_else_happened_in_a_call_is_told_with_it() -> None:
    spoken = evolve(CALL, summary=None, note="Dejó un mensaje.")
    silent = evolve(CALL, summary=None, transcript_excerpt="", note="Habló con Beto.")
    plan = session_plan(
        evolve(CONTEXT, calls=[silent, spoken, evolve(CALL, note="Habló con Beto.")]), now=NOW
    )

    assert plan.context == (
        "Llamada del 2026-05-04 09:00 UTC: Le interesa el plan anual.\nAdemás: Habló con Beto.\n\n"
        "Llamada del 2026-05-04 09:00 UTC: agent: Hola\nuser: Buenas\nAdemás: Dejó un mensaje.\n\n"
        "Llamada del 2026-05-04 09:00 UTC: Habló con Beto."
    )


def test_without_a_summary_the_end_of_the_call_stands_in_for_it() -> None:
    plan = session_plan(evolve(CONTEXT, calls=[evolve(CALL, summary=None)]), now=NOW)

    assert plan.dynamic_variables["call_summary"] == "agent: Hola\nuser: Buenas"


def test_a_call_that_our_clock_puts_into_the_future_was_just_now() -> None:
    plan = session_plan(CONTEXT, now=CALL.started_at - timedelta(minutes=50))

    assert plan.dynamic_variables["hours_since_call"] == 0


def test_of_a_calls_variables_only_those_that_may_be_set_are_passed_on() -> None:
    variables: Mapping[str, object] = {
        "plan": "oro",
        "age": 41,
        "rate": 0.5,
        "vip": True,
        "system__call_sid": "CA1",
        "secret__token": "x",
        "nothing": None,
        "list": ["a"],
        "history": "invented",
    }
    plan = session_plan(evolve(CONTEXT, calls=[evolve(CALL, variables=variables)]), now=NOW)

    told = plan.dynamic_variables
    assert {name: told.get(name) for name in ("plan", "age", "rate", "vip")} == {
        "plan": "oro",
        "age": 41,
        "rate": 0.5,
        "vip": True,
    }
    assert not {"system__call_sid", "secret__token", "nothing", "list"} & set(told)
    assert told["history"] == ""


def test_of_a_long_history_the_newest_is_told_and_no_message_is_endless() -> None:
    messages = [message("a" * 60_000), message("b" * 3_000), message("¿Cuánto cuesta?")]
    plan = session_plan(evolve(CONTEXT, messages=messages), now=NOW)

    history = plan.dynamic_variables["history"]
    assert isinstance(history, str)
    assert len(history) == 4_000
    assert history.startswith("…")
    assert history.endswith("Cliente: ¿Cuánto cuesta?")
    assert len(plan.context) < 8_000


def test_long_variables_are_cut() -> None:
    plan = session_plan(evolve(CONTEXT, calls=[evolve(CALL, summary="x" * 9_000)]), now=NOW)

    summary = plan.dynamic_variables["call_summary"]
    assert isinstance(summary, str)
    assert len(summary) == 4_000
    assert summary.endswith("…")


@pytest.mark.parametrize(
    ("variables", "collected", "name"),
    [
        ({}, {}, ""),
        ({"name": "Ana"}, {}, "Ana"),
        ({"nombre": " Ana "}, {}, "Ana"),
        ({"name": "ANA M"}, {"customer_name": "Ana"}, "Ana"),
        ({"name": "Ana"}, {"customer_name": "  "}, "Ana"),
        ({"name": 7}, {"nombre": None}, ""),
    ],
)
def test_a_persons_name_is_what_the_call_found_out_or_was_told(
    variables: Mapping[str, object], collected: Mapping[str, object], name: str
) -> None:
    assert person_name(variables, collected) == name


def test_the_name_a_call_was_made_to_goes_before_the_one_on_whatsapp() -> None:
    assert facts_of(evolve(CONTEXT, name="🔥 El Jefe 🔥")).name == "Ana"


def test_facts_are_those_of_the_call_that_is_asked_about() -> None:
    older = evolve(CALL, id="conv_0", summary=" Antes. ")
    context = evolve(CONTEXT, calls=[CALL, older])

    assert facts_of(context).summary == "Le interesa el plan anual."
    assert facts_of(context, older).summary == "Antes."


def test_without_a_call_there_is_only_a_name() -> None:
    assert facts_of(evolve(CONTEXT, calls=[])) == CallFacts(name="Ana")


@pytest.mark.parametrize(
    ("written", "items"),
    [
        ("", []),
        ("   ", []),
        ("¿Incluye soporte?", ["¿Incluye soporte?"]),
        ("uno; dos;tres", ["uno", "dos", "tres"]),
        ("- uno\n- dos\n\n- tres", ["uno", "dos", "tres"]),
        ("* uno\n* dos", ["uno", "dos"]),
        ("– uno\n– dos", ["uno", "dos"]),
        ("• uno • dos", ["uno", "dos"]),
        ("✓ uno\n✓ dos", ["uno", "dos"]),
        ("pre-pago; post-pago", ["pre-pago", "post-pago"]),
        ("; ;", []),
    ],
)
def test_a_list_that_a_language_model_wrote_is_read(written: str, items: Sequence[str]) -> None:
    assert facts_of(collecting(preguntas_pendientes=written)).pending_questions == items


def test_every_list_has_its_names() -> None:
    facts = facts_of(
        collecting(
            open_questions="¿Precio?", acuerdos="Enviar cotización", enlaces="https://example.com/plan"
        )
    )

    assert facts.pending_questions == ["¿Precio?"]
    assert facts.next_steps == ["Enviar cotización"]
    assert facts.links == ["https://example.com/plan"]


def test_values_that_are_no_text_are_left_out() -> None:
    assert facts_of(collecting(next_steps=["a", "b"], links=7)).next_steps == []
