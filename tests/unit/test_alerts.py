"""Alerts: what stands, since when, how often."""

from datetime import UTC, datetime, timedelta

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
