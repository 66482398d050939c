"""The default brain knows its call, and its answers can be told apart."""

import pytest

from daemon.lab.elevenlabs.brain import CallContext, CallTool, EndCall, SalesBrain, Say, ToolResult

SUMMARY = "Alejandro pidió una cotización. El precio es $1.250.000. Se acordó hablar el jueves."


def context(*, tools: frozenset[str] = frozenset(), **variables: str) -> CallContext:
    return CallContext(agent_name="Valeria", text_only=True, variables=variables, tools=tools)


def informed() -> CallContext:
    return context(
        customer_name="Alejandro Ruiz",
        product="Software IA",
        call_summary=SUMMARY,
        open_points="consultarlo con su socio",
    )


def answer(question: str, known: CallContext) -> str:
    return " ".join(step.text for step in SalesBrain().reply(known, question) if isinstance(step, Say))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("¿Cuánto cuesta?", "$1.250.000"),
        ("cual es el PRECIO", "$1.250.000"),
        ("¿Cuándo hablamos?", "jueves"),
        ("¿De qué hablamos?", "Alejandro pidió una cotización"),
        ("¿Qué quedó pendiente?", "consultarlo con su socio"),
        ("¿Quién eres?", "Valeria"),
        ("muchas gracias", "Alejandro"),
        ("Hola", "Software IA"),
        ("el asesor no contestó", "recado"),
        ("quisiera pagar con tarjeta de crédito", "«quisiera pagar con tarjeta de crédito»"),
    ],
)
def test_it_answers_from_what_it_knows(question: str, expected: str) -> None:
    assert expected in answer(question, informed())


@pytest.mark.parametrize(
    "question", ["¿Cuánto cuesta? #17", "gracias #17", "algo raro #17", "#17 hola\n#17 precio"]
)
def test_every_answer_repeats_the_tokens_of_its_question(question: str) -> None:
    assert "#17" in answer(question, informed())
    assert "#" not in answer(question.replace("#17", ""), informed())


def test_it_knows_what_contextual_updates_said_and_forgets_superseded_ones() -> None:
    known = context()
    known.update("Producto: Plan Oro\nEl plan vale $900.", "profile")
    known.update("Producto: Plan Plata\nEl plan vale $500.", "profile")

    assert "$500" in answer("¿precio?", known)
    assert "Plan Plata" in answer("hola", known)


def test_what_was_once_asked_is_neither_knowledge_nor_a_name() -> None:
    known = context(customer_name="", history="Cliente: ¿Cuánto cuesta? #1\nTú: El precio es $5. (#1)")
    known.update("Mensajes anteriores por WhatsApp:\nCliente: hola, precio por favor #2", None)

    for question in ("¿precio? #3", "hola", "gracias", "¿de qué hablamos? #3"):
        said = answer(question, known)
        assert "#1" not in said
        assert "#2" not in said
        assert "Cliente" not in said
        assert "$5" not in said


def test_without_knowledge_it_promises_instead_of_inventing() -> None:
    assert "$" not in answer("¿Cuánto cuesta?", context())


def test_it_asks_for_an_advisor_and_goes_on_by_the_result() -> None:
    known = context(tools=frozenset({"request_advisor"}))
    steps = iter(SalesBrain().reply(known, "quiero hablar con una persona #4"))

    assert isinstance(next(steps), Say)
    call = next(steps)
    assert isinstance(call, CallTool)
    assert call.parameters == {"reason": "quiero hablar con una persona #4"}
    known.tool_results.append(ToolResult(name="request_advisor", result="", is_error=True))
    assert "recado" in str(next(steps))


def test_it_hangs_up_only_where_it_has_the_tool() -> None:
    with_tool = list(SalesBrain().reply(context(tools=frozenset({"end_call"})), "adiós"))
    without = list(SalesBrain().reply(context(), "adiós"))

    assert isinstance(with_tool[-1], EndCall)
    assert len(without) == 1
