"""When a batch is to begin: what `--at` takes."""

from datetime import UTC, datetime

import click
import pytest

from daemon.cli.batch import moment_of

NOW = datetime(2026, 10, 9, 15, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-10-09T10:01", "2026-10-09T15:01+00:00"),
        ("2026-10-09 10:01:30", "2026-10-09T15:01:30+00:00"),
        ("2026-10-09T15:01Z", "2026-10-09T15:01+00:00"),
        ("2026-10-09T18:01+03:00", "2026-10-09T15:01+00:00"),
        ("20261010T0900", "2026-10-10T14:00+00:00"),
    ],
)
def test_a_time_without_offset_is_that_of_the_setting(text: str, moment: str) -> None:
    assert moment_of(text, "America/Bogota", now=NOW) == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("2026-10-09T10:00", "2026-10-09 10:00-05:00 has passed"),
        ("2026-10-09T15:00Z", "has passed"),
        ("0001-01-01T00:00+14:00", "has passed"),
        ("2026-10-10", "2026-10-10 lacks the time of day, as in 2026-10-10T09:00"),
        ("20261010", "lacks the time of day"),
        ("tomorrow", "expected a time such as 2027-01-31T09:00, got 'tomorrow'"),
        ("2026-02-30T10:00", "expected a time"),
        ("1790000000", "expected a time"),
        ("", "expected a time"),
    ],
)
def test_anything_else_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        moment_of(text, "America/Bogota", now=NOW)
    assert sentence in caught.value.message
    assert caught.value.param_hint == "--at"
