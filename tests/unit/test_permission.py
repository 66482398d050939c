"""May a message go now, and in which form?"""

from datetime import UTC, datetime, timedelta

import pytest

from actors.conversation.permission import CUSTOMER_WINDOW, goes_as_template, is_window_open
from actors.messages import Outgoing, Purpose, Template

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
JUST = timedelta(microseconds=1)
TEMPLATE = Template(sid="HX1")


def outgoing(
    *,
    template: Template | None = TEMPLATE,
    must_use_template: bool = False,
    window_opened_at: datetime | None = NOW,
) -> Outgoing:
    return Outgoing(
        id=1,
        person_id=1,
        conversation_id=1,
        address="+52155",
        purpose=Purpose.ANSWER,
        text="Hola",
        template=template,
        must_use_template=must_use_template,
        attempts=0,
        created_at=NOW,
        sending_since=None,
        window_opened_at=window_opened_at,
    )


@pytest.mark.parametrize(
    ("opened_at", "is_open"),
    [
        (None, False),
        (NOW, True),
        (NOW - CUSTOMER_WINDOW + JUST, True),
        (NOW - CUSTOMER_WINDOW, False),
        (NOW - timedelta(hours=24), False),
        (NOW + timedelta(seconds=5), True),
    ],
)
def test_the_window_is_open_for_a_little_less_than_a_day(
    opened_at: datetime | None, *, is_open: bool
) -> None:
    assert is_window_open(opened_at, NOW) is is_open


def test_free_text_goes_while_the_window_is_open() -> None:
    assert not goes_as_template(outgoing(), NOW)


@pytest.mark.parametrize("opened_at", [None, NOW - CUSTOMER_WINDOW])
def test_the_template_goes_where_it_is_closed(opened_at: datetime | None) -> None:
    assert goes_as_template(outgoing(window_opened_at=opened_at), NOW)


def test_what_was_refused_as_text_goes_as_its_template_although_the_window_seems_open() -> None:
    assert goes_as_template(outgoing(must_use_template=True), NOW)


@pytest.mark.parametrize("must_use_template", [True, False])
def test_without_a_template_the_text_is_tried(*, must_use_template: bool) -> None:
    message = outgoing(template=None, must_use_template=must_use_template, window_opened_at=None)

    assert not goes_as_template(message, NOW)
