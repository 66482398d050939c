"""The receptionist of the simulated agent: she connects, tells how it went, and takes messages."""

import pytest
from jinja2 import Template

from daemon.lab.elevenlabs.brain import CallContext, CallTool, EndCall, Say, Step, ToolResult
from daemon.lab.elevenlabs.receptionist import NOBODY, ReceptionistBrain
from daemon.settings import Settings

TOOLS = frozenset({"request_advisor", "take_message", "end_call"})
OFFER = "¿Quiere que pruebe con otro asesor, o prefiere dejar un mensaje?"


def on_the_phone(*said: str, tools: frozenset[str] = TOOLS) -> CallContext:
    """A call in which the agent has said this so far."""
    context = CallContext(agent_name="Valeria", text_only=False, tools=tools)
    context.said.extend(("agent", text) for text in said)
    return context


def answer(
    context: CallContext, text: str, *, result: str = "ok", is_error: bool = False, is_typed: bool = False
) -> list[Step]:
    """What she does, every tool being answered with `result`."""
    context.is_typed = is_typed
    steps = []
    for step in ReceptionistBrain().reply(context, text):
        steps.append(step)
        if isinstance(step, CallTool):
            context.tool_results.append(ToolResult(name=step.name, result=result, is_error=is_error))
    return steps


def said(steps: list[Step]) -> list[str]:
    return [step.text for step in steps if isinstance(step, Say)]


def told(note: str, *, update: str | None = None) -> str:
    context = on_the_phone()
    if update is not None:
        context.update(update, None)
    [text] = said(answer(context, note, is_typed=True))
    return text


@pytest.mark.parametrize(
    ("asked", "advisor"),
    [
        ("quiero hablar con un asesor", None),
        ("¿Hay alguien que me atienda?", None),
        ("Páseme con una persona, por favor", None),
        ("¿Me comunica con Jesús, por favor?", "Jesús"),
        ("Quiero hablar con la licenciada Laura Gómez", "Laura Gómez"),
        ("Comuníqueme con ventas", None),
    ],
)
def test_who_asks_for_a_person_is_put_through(asked: str, advisor: str | None) -> None:
    sentence, call, connecting = answer(on_the_phone(), asked, result='{"status": "searching"}')

    assert isinstance(sentence, Say)
    assert isinstance(call, CallTool)
    assert call.parameters == ({"reason": asked, "advisor": advisor} if advisor else {"reason": asked})
    whom = advisor.split()[0] if advisor else "un asesor"
    assert connecting == Say(f"Estoy comunicándole con {whom}, espere un momento por favor.")


@pytest.mark.parametrize(
    "result", ['{"status": "ringing", "advisor": "Jesús Ortega"}', "Llamando a Jesús Ortega."]
)
def test_the_tools_result_says_who_it_is(result: str) -> None:
    assert "con Jesús, espere" in said(answer(on_the_phone(), "un asesor", result=result))[-1]


@pytest.mark.parametrize(
    ("result", "is_error"),
    [
        ("", True),
        ("No hay asesores disponibles", False),
        ('{"status": "nobody"}', False),
        ("nadie puede", False),
    ],
)
def test_where_nobody_is_there_a_message_is_offered(result: str, *, is_error: bool) -> None:
    assert said(answer(on_the_phone(), "un asesor", result=result, is_error=is_error))[-1] == NOBODY


@pytest.mark.parametrize(
    ("note", "says"),
    [
        (
            "[Sistema: Jesús Ortega no contestó. Dígaselo al cliente y ofrezca otro asesor.]",
            "Jesús no contestó.",
        ),
        ("El asesor Jesús no contestó", "Jesús no contestó."),
        ("El asesor no contestó.", "El asesor no contestó."),
        ("[Laura está ocupada]", "Laura tiene la línea ocupada."),
        ("[Jesús colgó sin aceptar]", "Jesús no contestó."),
        ("Nadie contestó", "El asesor no contestó."),
    ],
)
def test_a_missed_advisor_is_told_with_an_offer(note: str, says: str) -> None:
    assert told(note).startswith(says)
    assert told(note).endswith(OFFER)


@pytest.mark.parametrize(
    ("note", "says"),
    [
        (
            "[Jesús no contestó y no hay otro asesor. Ofrezca tomar un recado.]",
            "Jesús no contestó. ¿Quiere dejar un mensaje?",
        ),
        ("No hay ningún asesor disponible", NOBODY),
        (
            "[Jesús Ortega ya está en la línea. Despídase en una frase.]",
            "Le paso con Jesús, que le atienda bien.",
        ),
        ("El asesor aceptó la llamada", "Le paso con el asesor, que le atienda bien."),
        (
            "[El asesor Jesús colgó. Siga con el cliente.]",
            "Jesús ya terminó la llamada y sigo aquí con usted. ¿Le ayudo en algo más?",
        ),
        ("Se está llamando a Laura", "Estoy comunicándole con Laura, espere un momento por favor."),
    ],
)
def test_a_note_is_passed_on(note: str, says: str) -> None:
    assert told(note) == says


def test_a_note_may_leave_its_news_to_the_updates_before_it() -> None:
    update = "Jesús Ortega no contestó."

    assert told("[Dígale al cliente lo que pasó.]", update=update) == f"Jesús no contestó. {OFFER}"


NOTES = Settings().voice_texts


@pytest.mark.parametrize(
    ("note", "missed", "says"),
    [
        (NOTES.told_calling, "", "Estoy comunicándole con Jesús, espere un momento por favor."),
        (NOTES.told_nobody, "", NOBODY),
        (NOTES.told_missed, "no_answer", f"Jesús no contestó. {OFFER}"),
        (NOTES.told_missed, "busy", f"Jesús tiene la línea ocupada. {OFFER}"),
        (NOTES.told_missed, "failed", f"Jesús no contestó. {OFFER}"),
        (NOTES.told_missed, "declined", f"Jesús no contestó. {OFFER}"),
        (NOTES.told_joined, "", "Le paso con Jesús, que le atienda bien."),
        (
            NOTES.told_left,
            "",
            "Jesús ya terminó la llamada y sigo aquí con usted. ¿Le ayudo en algo más?",
        ),
    ],
)
def test_she_understands_the_notes_of_the_settings(note: str, missed: str, says: str) -> None:
    assert told(Template(note).render(advisor="Jesús Ortega", missed=missed)) == says


def test_she_understands_the_answers_of_the_settings() -> None:
    calling = Template(NOTES.tool_calling).render(advisor="Laura Gómez")

    assert "con Laura, espere" in said(answer(on_the_phone(), "un asesor", result=calling))[-1]
    assert said(answer(on_the_phone(), "un asesor", result=NOTES.tool_nobody))[-1] == NOBODY
    assert said(answer(on_the_phone(NOBODY), "sí", result=NOTES.tool_recording)) == [
        "Deje su mensaje después del tono."
    ]
    assert "no puedo" in said(answer(on_the_phone(NOBODY), "sí", result=NOTES.tool_not_now))[0]


def test_a_message_may_be_called_a_recado() -> None:
    offer = Template(NOTES.back_after_missed).render(advisor="Jesús", missed="no_answer")

    assert isinstance(
        answer(on_the_phone(offer.replace(", o prefiere que pruebe con otro asesor", "")), "sí")[0], CallTool
    )


def test_old_news_are_not_told_again() -> None:
    context = on_the_phone()
    context.update("Jesús no contestó.", None)
    answer(context, "[Dígalo]", is_typed=True)

    assert "contestó" not in said(answer(context, "[Salude]", is_typed=True))[0]


@pytest.mark.parametrize("wish", ["Pruebe con otro asesor", "con otra persona, por favor", "¿Y alguien más?"])
def test_another_advisor_is_asked_for(wish: str) -> None:
    steps = answer(on_the_phone(OFFER), wish)

    assert isinstance(steps[1], CallTool)
    assert steps[1].name == "request_advisor"


@pytest.mark.parametrize("wish", ["Sí, por favor", "Prefiero dejar un recado", "un mensaje"])
def test_a_message_is_taken(wish: str) -> None:
    call, last = answer(on_the_phone(NOBODY), wish)

    assert isinstance(call, CallTool)
    assert call.name == "take_message"
    assert last == Say("Deje su mensaje después del tono.")


def test_a_message_that_cannot_be_taken_is_said() -> None:
    [text] = said(answer(on_the_phone(NOBODY), "sí", is_error=True))

    assert "no puedo tomar su mensaje" in text


def test_yes_and_no_mean_the_offer_only_right_after_it() -> None:
    assert said(answer(on_the_phone(NOBODY), "No, gracias")) == ["De acuerdo. ¿Le ayudo en algo más?"]
    assert not any(isinstance(step, CallTool) for step in answer(on_the_phone("Dígame."), "sí, claro"))


def test_who_says_goodbye_is_let_go() -> None:
    assert isinstance(answer(on_the_phone(), "No, nada más. Muchas gracias, hasta luego")[-1], EndCall)


def test_all_else_is_answered_as_ever_with_its_tokens() -> None:
    assert "#3" in said(answer(on_the_phone(), "¿cuánto cuesta? #3"))[0]
    assert all("#4" in text for text in said(answer(on_the_phone(), "un asesor #4")))


def test_without_its_tools_she_promises() -> None:
    context = on_the_phone(tools=frozenset())

    assert not any(isinstance(step, CallTool) for step in answer(context, "un asesor"))
    assert not any(isinstance(step, CallTool) for step in answer(context, "un recado"))
