"""The audit sees what it is there to see."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from tests.chaos.audit import Expectation, Kind, audit
from tests.chaos.books import Attempt, Carried, PersonBook, Written, person_book, tokens_in
from tests.chaos.ledger import CallRow, Ledger, Row, Step

PHONE = "+573010010001"
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def written(number: int, *, came_s: float | None = None, status: int | None = 200) -> Written:
    came_s = float(number) if came_s is None else came_s
    attempt = Attempt(began_at=at(came_s), ended_at=at(came_s + 0.1), status=status)
    return Written(sid=f"SMin{number}", body=f"Hola #t{number}", attempts=[attempt])


def carried(row_id: int, text: str, *, statuses: str = "queued sent delivered read") -> Carried:
    history = statuses.split()
    return Carried(
        sid=f"SMout{row_id}",
        body=text,
        is_template=False,
        statuses=history,
        row_id=row_id,
        arrived_at=at(100 + row_id) if "delivered" in history else None,
    )


def inbound(row_id: int, number: int, *, status: str = "answered") -> Row:
    return Row(
        phone=PHONE,
        id=row_id,
        direction="inbound",
        status=status,
        sid=f"SMin{number}",
        text=f"Hola #t{number}",
    )


def outbound(row_id: int, text: str, *, status: str = "read", call_id: str | None = None) -> Row:
    return Row(
        phone=PHONE,
        id=row_id,
        direction="outbound",
        status=status,
        sid=None if status in {"pending", "sending", "refused"} else f"SMout{row_id}",
        text=text,
        purpose="answer" if call_id is None else "opening",
        call_id=call_id,
    )


BOOK = PersonBook(
    phone=PHONE,
    written=[written(1), written(2)],
    carried=[carried(1, "Buenas"), carried(3, "Sí (#t1)"), carried(5, "No (#t2)")],
    calls=["conv_1"],
)
LEDGER = Ledger(
    rows=[
        outbound(1, "Buenas", call_id="conv_1"),
        inbound(2, 1),
        outbound(3, "Sí (#t1)"),
        inbound(4, 2),
        outbound(5, "No (#t2)"),
    ],
    calls=[CallRow(phone=PHONE, id="conv_1", follow_up="handled")],
    steps=[
        Step(message_id=3, was=None, became="pending", was_rank=None, became_rank=0),
        Step(message_id=3, was="pending", became="sending", was_rank=0, became_rank=1),
        Step(message_id=3, was="sending", became="pending", was_rank=1, became_rank=0),
        Step(message_id=3, was="sending", became="read", was_rank=1, became_rank=5),
    ],
)


def ledger_with(*changed: Row) -> Ledger:
    by_id = {row.id: row for row in changed}
    kept = [by_id.pop(row.id, row) for row in LEDGER.rows]
    return evolve(LEDGER, rows=[*kept, *by_id.values()])


def ledger_without(row_id: int) -> Ledger:
    return evolve(LEDGER, rows=[row for row in LEDGER.rows if row.id != row_id])


def kinds(book: PersonBook, ledger: Ledger, expected: Expectation | None = None) -> set[Kind]:
    return set(audit([book], ledger, expected or Expectation()).counts)


def test_what_is_right_is_found_right_and_counted() -> None:
    verdict = audit([BOOK], LEDGER)
    assert verdict.findings == []
    assert (verdict.written, verdict.arrived, verdict.expected) == (2, 3, 0)


@pytest.mark.parametrize(
    ("ledger", "kind"),
    [
        (ledger_without(2), Kind.LOST),
        (ledger_with(inbound(2, 1, status="dropped")), Kind.LOST),
        (ledger_with(inbound(2, 1, status="received")), Kind.UNSETTLED),
        (ledger_with(outbound(7, "Otra", status="pending")), Kind.UNSETTLED),
        (ledger_with(outbound(7, "Otra", status="refused")), Kind.LOST),
        (ledger_with(outbound(7, "Otra", status="accepted")), Kind.LOST),
        (ledger_with(inbound(7, 9)), Kind.WRONG),
        (ledger_with(outbound(3, "Quizá (#t1)")), Kind.WRONG),
        (ledger_with(outbound(3, "Sí (#t1)", status="undelivered")), Kind.WRONG),
        (evolve(LEDGER, calls=[]), Kind.LOST),
        (evolve(LEDGER, calls=[CallRow(phone=PHONE, id="conv_1", follow_up="due")]), Kind.UNSETTLED),
        (evolve(LEDGER, calls=[CallRow(phone=PHONE, id="conv_1", follow_up="none")]), Kind.LOST),
        (
            evolve(
                LEDGER,
                steps=[Step(message_id=3, was="read", became="sent", was_rank=5, became_rank=3)],
            ),
            Kind.REGRESSED,
        ),
        (
            evolve(
                LEDGER,
                steps=[Step(message_id=2, was="answered", became="received", was_rank=0, became_rank=0)],
            ),
            Kind.REGRESSED,
        ),
    ],
)
def test_what_is_wrong_in_the_store_is_found(ledger: Ledger, kind: Kind) -> None:
    assert kind in kinds(BOOK, ledger)


def test_a_message_at_twilio_without_a_row_was_sent_twice() -> None:
    book = evolve(BOOK, carried=[*BOOK.carried, evolve(carried(5, "No (#t2)"), sid="SMcopy")])
    assert kinds(book, LEDGER) == {Kind.DOUBLED}


def test_one_that_failed_before_its_row_was_sent_again_was_not() -> None:
    failed = evolve(carried(5, "No (#t2)", statuses="queued failed"), sid="SMearlier")
    assert kinds(evolve(BOOK, carried=[failed, *BOOK.carried]), LEDGER) == set()


def test_two_answers_to_one_question_are_a_double_though_each_has_its_row() -> None:
    book = evolve(BOOK, carried=[*BOOK.carried, carried(7, "Sí (#t1)")])
    assert Kind.DOUBLED in kinds(book, ledger_with(outbound(7, "Sí (#t1)")))


def test_two_openings_of_one_call_are_a_double() -> None:
    book = evolve(BOOK, carried=[*BOOK.carried, carried(7, "Buenas")])
    assert kinds(book, ledger_with(outbound(7, "Buenas", call_id="conv_1"))) == {Kind.DOUBLED}


def test_an_answer_that_never_arrived_is_lost_unless_the_fault_has_it_so() -> None:
    refused = evolve(
        BOOK, carried=[*BOOK.carried[:2], carried(5, "No (#t2)", statuses="queued sent undelivered")]
    )
    ledger = ledger_with(outbound(5, "No (#t2)", status="undelivered"))
    assert kinds(refused, ledger) == {Kind.LOST}
    verdict = audit([refused], ledger, Expectation(refusals=True))
    assert (verdict.findings, verdict.expected) == ([], 1)


def test_an_answer_without_words_is_right_where_the_agent_has_none() -> None:
    book = evolve(BOOK, carried=BOOK.carried[:2])
    assert kinds(book, ledger_without(5)) == {Kind.LOST}
    assert audit([book], ledger_without(5), Expectation(wordless=True)).expected == 1


def test_answers_come_in_the_order_in_which_the_questions_were_stored() -> None:
    swapped = [BOOK.carried[0], carried(3, "No (#t2)"), carried(5, "Sí (#t1)")]
    ledger = ledger_with(outbound(3, "No (#t2)"), outbound(5, "Sí (#t1)"))
    assert kinds(evolve(BOOK, carried=swapped), ledger) == {Kind.DISORDERED}


def test_messages_arrive_in_the_order_of_their_rows() -> None:
    late = evolve(BOOK.carried[0], arrived_at=at(200))
    assert kinds(evolve(BOOK, carried=[late, *BOOK.carried[1:]]), LEDGER) == {Kind.DISORDERED}


def test_a_question_whose_webhook_was_lost_may_be_stored_after_the_next_one() -> None:
    ledger = ledger_with(inbound(4, 1), inbound(2, 2), outbound(3, "No (#t2)"), outbound(5, "Sí (#t1)"))
    arrived = [BOOK.carried[0], carried(3, "No (#t2)"), carried(5, "Sí (#t1)")]
    lost = evolve(BOOK, written=[written(1, status=503), written(2)], carried=arrived)
    taken = evolve(BOOK, carried=arrived)
    assert kinds(lost, ledger) == set()
    assert kinds(taken, ledger) == {Kind.DISORDERED}


def test_a_template_stands_for_the_text_of_its_row() -> None:
    template = evolve(carried(5, "Hola de nuevo"), is_template=True)
    assert kinds(evolve(BOOK, carried=[*BOOK.carried[:2], template]), LEDGER) == set()


def test_a_sid_that_belongs_to_another_row_is_wrong() -> None:
    assert Kind.WRONG in kinds(
        evolve(BOOK, carried=[*BOOK.carried[:2], evolve(BOOK.carried[2], row_id=99)]), LEDGER
    )


def test_a_forged_webhook_must_be_refused() -> None:
    forged = Attempt(began_at=T0, ended_at=T0, status=200, is_forged=True)
    first = BOOK.written[0]
    book = evolve(BOOK, written=[evolve(first, attempts=[*first.attempts, forged]), BOOK.written[1]])
    assert kinds(book, LEDGER) == {Kind.WRONG}


def test_a_persons_book_is_read_from_the_labs_json() -> None:
    moment = "2026-01-01T00:00:01+00:00"
    asked: dict[str, Any] = {
        "sid": "SM1",
        "direction": "inbound",
        "body": "Hola #t1",
        "content_sid": None,
        "history": [{"status": "received", "at": moment}],
        "webhooks": [
            {
                "url": "http://relay/in",
                "forged": True,
                "message_sid": "SMmadeup",
                "attempts": [{"at": moment, "took_s": 0.5, "status": 403}],
            }
        ],
    }
    sent: dict[str, Any] = {
        "sid": "MM2",
        "direction": "outbound-api",
        "body": "Buenas",
        "content_sid": "HX1",
        "history": [{"status": "queued", "at": moment}, {"status": "delivered", "at": moment}],
        "webhooks": [
            {
                "url": "http://relay/status?m=17",
                "forged": False,
                "message_sid": "MM2",
                "attempts": [],
            }
        ],
    }
    book = person_book(PHONE, [asked, sent], ["conv_1"])

    assert book.calls == ["conv_1"]
    assert book.written[0].attempts == [Attempt(began_at=at(1), ended_at=at(1.5), status=403, is_forged=True)]
    assert book.carried == [
        Carried(
            sid="MM2",
            body="Buenas",
            is_template=True,
            statuses=["queued", "delivered"],
            row_id=17,
            arrived_at=at(1),
        )
    ]


def test_tokens_count_once_and_keep_their_order() -> None:
    assert tokens_in("(#t2 #t1 #t2)") == ["#t2", "#t1"]
