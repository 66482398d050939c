"""Alerts: what stands, since when, how often."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import define

from actors.alerts import Alert, Alerts


@define
class HandSetClock:
    at: datetime = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


def keys(alerts: Alerts) -> list[str]:
    return [alert.key for alert in alerts.standing]


def test_an_alert_stands_until_it_is_settled() -> None:
    alerts = Alerts(HandSetClock())
    alerts.raise_alert("outbox", "the outbox cannot reach the database")

    assert alerts.standing == [
        Alert(
            key="outbox",
            text="the outbox cannot reach the database",
            since="2026-05-04T12:00:00+00:00",
            count=1,
        )
    ]

    alerts.settle("outbox")
    assert alerts.standing == []


def test_settling_what_does_not_stand_does_nothing() -> None:
    alerts = Alerts(HandSetClock())
    alerts.raise_alert("outbox", "")
    alerts.settle("monitor")

    assert keys(alerts) == ["outbox"]


def test_raising_an_alert_again_counts_and_keeps_its_beginning() -> None:
    clock = HandSetClock()
    alerts = Alerts(clock)
    alerts.raise_alert("outbox", "first")
    clock.at += timedelta(hours=1)
    alerts.raise_alert("outbox", "second")

    assert alerts.standing == [Alert(key="outbox", text="second", since="2026-05-04T12:00:00+00:00", count=2)]


def test_an_alert_that_was_settled_begins_anew() -> None:
    clock = HandSetClock()
    alerts = Alerts(clock)
    alerts.raise_alert("outbox", "")
    alerts.settle("outbox")
    clock.at += timedelta(hours=1)
    alerts.raise_alert("outbox", "")

    assert [(alert.since, alert.count) for alert in alerts.standing] == [("2026-05-04T13:00:00+00:00", 1)]


def test_at_the_limit_the_alert_that_was_not_raised_for_longest_gives_way() -> None:
    alerts = Alerts(HandSetClock(), limit=2)
    for key in ("a", "b", "a", "c"):
        alerts.raise_alert(key, "")

    assert keys(alerts) == ["a", "c"]


def test_what_fails_is_an_alert_until_it_succeeds() -> None:
    alerts = Alerts(HandSetClock())
    for problem in ("gone", "still gone"):
        with alerts.while_failing("outbox", "the outbox fails", OSError):
            raise OSError(problem)
    assert [(alert.key, alert.text, alert.count) for alert in alerts.standing] == [
        ("outbox", "the outbox fails: still gone", 2)
    ]

    with alerts.while_failing("outbox", "the outbox fails", OSError):
        pass
    assert alerts.standing == []


def test_a_failure_of_another_kind_is_nobodys_alert() -> None:
    alerts = Alerts(HandSetClock())
    with pytest.raises(KeyError), alerts.while_failing("outbox", "the outbox fails", OSError):
        raise KeyError

    assert alerts.standing == []


def test_an_alert_that_is_kept_is_counted_once_and_says_the_latest() -> None:
    alerts = Alerts(HandSetClock())
    alerts.keep("agent_unanswered", "3 people")
    alerts.keep("agent_unanswered", "2 people")

    (alert,) = alerts.standing
    assert (alert.text, alert.count) == ("2 people", 1)
