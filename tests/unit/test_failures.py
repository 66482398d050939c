"""Twilio's error codes: what each means, and whether a message that failed with it goes again."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from actors.failures import (
    AT_ONCE_CODES,
    FailedMessage,
    FailureKind,
    failure_of,
    other_form_of,
    pause_s,
    repeat_of,
    told,
)

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MESSAGE = FailedMessage(
    address="+5215512345678",
    has_template=False,
    must_use_template=False,
    repeats=0,
    is_respelled=False,
    written_at=NOW,
)

KINDS = {
    FailureKind.WINDOW_CLOSED: {63016},
    FailureKind.LATER: {14107, 20429, 21611, 30036, 63009, 63010, 63012, 63018, 63038},
    FailureKind.OTHER_SPELLING: {63003},
    FailureKind.PERSON: {21211, 21610, 21614, 63014, 63015, 63024, 63032},
    FailureKind.CONTENT: {
        *(21602, 21617, 21619, 63005, 63006, 63013, 63019, 63021, 63030, 63034, 63049),
    },
    FailureKind.SETTINGS: {
        *(20003, 20404, 21212, 21408, 21606, 21608, 21654, 21655, 21656, 21658, 21703, 21704, 21910),
        *(63001, 63002, 63007, 63008, 63027, 63028, 63040, 63041, 63042),
    },
}
EVERY_CODE = [(code, kind) for kind, codes in KINDS.items() for code in sorted(codes)]
FOR_THE_OPERATOR = {63018, 63038, 63015, 63049, 21602, 21617, 21619} | KINDS[FailureKind.SETTINGS]


@pytest.mark.parametrize(("code", "kind"), EVERY_CODE)
def test_every_code_has_its_kind_and_a_word_of_advice(code: int, kind: FailureKind) -> None:
    failure = failure_of(code)

    assert failure.kind is kind
    assert told(code) == f"{code}: {failure.advice}"
    assert failure.advice
    assert not failure.advice.endswith(".")
    assert failure.needs_operator is (code in FOR_THE_OPERATOR)


@pytest.mark.parametrize(("code", "kind"), EVERY_CODE)
def test_only_what_may_go_later_has_pauses_and_a_limit(code: int, kind: FailureKind) -> None:
    failure = failure_of(code)
    is_later = kind is FailureKind.LATER

    assert (failure.repeats_max > 0) is is_later
    assert (0 < failure.first_pause_s < failure.pause_max_s) is is_later
    assert pause_s(code, 100) == failure.pause_max_s


@pytest.mark.parametrize(
    ("code", "at_least_s"), [(14107, 30), (63009, 30), (63018, 60), (30036, 60), (63038, 3600)]
)
def test_the_first_pause_is_long_enough(code: int, at_least_s: float) -> None:
    assert pause_s(code, 0) >= at_least_s
    assert pause_s(code, 1) == 2 * pause_s(code, 0)


def test_a_code_that_nobody_knows_is_looked_up_by_the_operator() -> None:
    failure = failure_of(99999)

    assert failure.kind is FailureKind.UNCLASSIFIED
    assert failure.needs_operator
    assert told(99999).endswith("twilio.com/docs/api/errors/99999")


def test_a_failure_without_a_code_is_told_without_one() -> None:
    assert not failure_of(None).needs_operator
    assert told(None) == "Twilio gave no reason"


# --- What goes again --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "kind"), EVERY_CODE)
def test_what_failed_once_goes_again_where_that_may_help(code: int, kind: FailureKind) -> None:
    message = evolve(MESSAGE, has_template=True)

    repeat = repeat_of(message, code, now=NOW, give_up_after=DAY)

    at_once = {FailureKind.WINDOW_CLOSED, FailureKind.OTHER_SPELLING}
    assert (repeat is not None) is (kind in at_once | {FailureKind.LATER})
    if repeat is not None:
        assert (repeat.not_before is None) is (kind in at_once) is (code in AT_ONCE_CODES)


@pytest.mark.parametrize("code", [None, 99999])
def test_what_failed_for_an_unknown_reason_does_not(code: int | None) -> None:
    assert repeat_of(MESSAGE, code, now=NOW, give_up_after=DAY) is None


@pytest.mark.parametrize("code", sorted(KINDS[FailureKind.LATER]))
def test_pauses_grow_and_come_to_an_end(code: int) -> None:
    message, now, pauses = MESSAGE, NOW, []
    while (repeat := repeat_of(message, code, now=now, give_up_after=None)) is not None:
        assert repeat.not_before is not None
        pauses.append(repeat.not_before - now)
        message, now = evolve(message, repeats=repeat.repeats), repeat.not_before

    assert len(pauses) == failure_of(code).repeats_max
    assert pauses == sorted(pauses)


def test_nothing_goes_when_it_would_be_too_old() -> None:
    pause = timedelta(seconds=pause_s(63018, 0))

    assert repeat_of(MESSAGE, 63018, now=NOW + DAY - pause, give_up_after=DAY)
    assert not repeat_of(MESSAGE, 63018, now=NOW + DAY, give_up_after=DAY)
    assert repeat_of(evolve(MESSAGE, has_template=True), 63016, now=NOW + DAY, give_up_after=DAY)


def test_a_closed_window_is_met_with_the_template_once() -> None:
    repeat = repeat_of(evolve(MESSAGE, has_template=True), 63016, now=NOW, give_up_after=DAY)

    assert repeat is not None
    assert (repeat.must_use_template, repeat.address, repeat.repeats) == (True, MESSAGE.address, 0)
    assert not repeat_of(MESSAGE, 63016, now=NOW, give_up_after=DAY)
    forced = evolve(MESSAGE, has_template=True, must_use_template=True)
    assert not repeat_of(forced, 63016, now=NOW, give_up_after=DAY)


@pytest.mark.parametrize(
    ("address", "other"),
    [
        ("+5215512345678", "+525512345678"),
        ("+525512345678", "+5215512345678"),
        ("+543511234567", "+5493511234567"),
        ("+5511987654321", "+551187654321"),
        ("+573001234567", None),
        ("MX.1A2B", None),
    ],
)
def test_the_other_spelling_of_a_number_is_tried_once(address: str, other: str | None) -> None:
    message = evolve(MESSAGE, address=address, repeats=2)
    repeat = repeat_of(message, 63003, now=NOW, give_up_after=DAY)

    assert (repeat.address if repeat else None) == other
    if repeat is not None:
        assert (repeat.is_respelled, repeat.repeats) == (True, 2)
    assert not repeat_of(evolve(message, is_respelled=True), 63003, now=NOW, give_up_after=DAY)


def test_what_was_refused_at_once_goes_again_in_another_form_alone() -> None:
    assert other_form_of(MESSAGE, 63003, now=NOW)
    assert not other_form_of(MESSAGE, 63018, now=NOW)
    assert not other_form_of(MESSAGE, 21211, now=NOW)
