"""Whose turn it is."""

import pytest

from actors.live_call.transfer_desk import Advisor, Advisors

JESUS = Advisor(name="Jesús Pérez", phone="+525599990001", whatsapp="+525599990001", topics=("soporte",))
LAURA = Advisor(
    name="Laura Gómez", phone="+525599990002", whatsapp="+525599990002", topics=("ventas", "facturación")
)
PEDRO = Advisor(name="Pedro Ruiz", phone="+525599990003", whatsapp="+525599990003", topics=("ventas",))


@pytest.fixture
def advisors() -> Advisors:
    return Advisors([JESUS, LAURA, PEDRO])


def test_they_are_called_in_turn(advisors: Advisors) -> None:
    assert [advisors.choose(call) for call in range(4)] == [
        "Jesús Pérez",
        "Laura Gómez",
        "Pedro Ruiz",
        "Jesús Pérez",
    ]


def test_a_topic_narrows_the_turn(advisors: Advisors) -> None:
    assert [advisors.choose(call, topic="Ventas") for call in range(3)] == [
        "Laura Gómez",
        "Pedro Ruiz",
        "Laura Gómez",
    ]
    assert advisors.choose(9, topic="una factura de facturación") == "Laura Gómez"


def test_a_topic_of_nobody_is_anybodys(advisors: Advisors) -> None:
    assert advisors.choose(1, topic="quejas") == "Jesús Pérez"


def test_who_was_tried_is_passed_over_until_nobody_is_left(advisors: Advisors) -> None:
    tried: set[str] = set()
    while (chosen := advisors.choose(1, tried=tried)) is not None:
        tried.add(chosen)
    assert tried == {"Jesús Pérez", "Laura Gómez", "Pedro Ruiz"}


def test_who_is_asked_for_by_name_is_called_again_and_nobody_else(advisors: Advisors) -> None:
    assert advisors.choose(1, name="jesús", tried={"Jesús Pérez"}) == "Jesús Pérez"
    assert advisors.choose(1, name="Ramón") is None


def test_nobody_is_called_for_two_calls_at_once(advisors: Advisors) -> None:
    advisors.engage(1, "Jesús Pérez")
    assert advisors.choose(2, name="Jesús") is None
    assert advisors.choose(2) == "Laura Gómez"
    assert advisors.choose(1, name="Jesús") == "Jesús Pérez", "his own call may call him again"
    advisors.engage(1, None)
    assert advisors.choose(2, name="Jesús") == "Jesús Pérez"


def test_without_advisors_nobody_is_called() -> None:
    assert Advisors([]).choose(1) is None
