"""The numbers as Prometheus reads them."""

from typing import Any

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.metrics import Metrics, NoMetrics
from actors.overview import Queues
from daemon.observability.loop_monitor import DelayMetrics
from daemon.observability.metrics import PrometheusMetrics


def samples(metrics: PrometheusMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: PrometheusMetrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


def test_both_implementations_satisfy_the_actors_port() -> None:
    ports: list[Metrics] = [PrometheusMetrics(), NoMetrics()]
    for port in ports:
        port.turn_finished("answered", 2.0)
        port.flood_began()
        port.agent_session_opened(0.2)
        port.agent_session_closed(1000)
        port.message_sent("refused", 63016)
        port.message_waited("answer", 0.2)
        port.child_restarted("call monitor")
        port.call_found("webhook", "completed")
    delays: DelayMetrics = PrometheusMetrics()
    delays.loop_delayed(0.0)


def test_what_the_actors_count_is_rendered() -> None:
    metrics = PrometheusMetrics()
    counted: Any = metrics
    counted.turn_finished("answered", 2.5)
    counted.turn_finished("failed", 60.0)
    counted.agent_session_opened(0.3)
    counted.agent_session_closed(1000)
    counted.agent_session_closed(None)
    counted.message_sent("refused", 63016)
    counted.message_waited("opening", 3.0)
    counted.child_restarted("call monitor")
    counted.call_found("webhook", "no_answer")
    counted.loop_delayed(0.02)
    counted.http_request("/api/webhook/twilio/incoming", 200, 0.004)
    expected = {
        ("relevo_turns_total", "result", "answered"): 1,
        ("relevo_turns_total", "result", "failed"): 1,
        ("relevo_agent_sessions_closed_total", "code", "1000"): 1,
        ("relevo_agent_sessions_closed_total", "code", "none"): 1,
        ("relevo_actor_restarts_total", "child", "call monitor"): 1,
        ("relevo_outbox_wait_seconds_sum", "purpose", "opening"): 3,
        ("relevo_http_request_seconds_count", "route", "/api/webhook/twilio/incoming"): 1,
    }
    for (name, label, word), count in expected.items():
        assert value(metrics, name, **{label: word}) == count
    assert value(metrics, "relevo_messages_sent_total", result="refused", code="63016") == 1
    assert value(metrics, "relevo_calls_found_total", source="webhook", outcome="no_answer") == 1
    assert (
        value(metrics, "relevo_http_requests_total", route="/api/webhook/twilio/incoming", status="200") == 1
    )
    assert value(metrics, "relevo_agent_session_start_seconds_count") == 1
    assert value(metrics, "relevo_event_loop_delay_seconds_bucket", le="0.025") == 1
    assert value(metrics, "relevo_event_loop_delay_seconds_bucket", le="0.01") == 0


def test_only_answered_turns_count_for_the_time_to_answer() -> None:
    metrics = PrometheusMetrics()
    metrics.turn_finished("answered", 2.5)
    metrics.turn_finished("failed", 60.0)
    assert value(metrics, "relevo_time_to_answer_seconds_count") == 1
    assert value(metrics, "relevo_time_to_answer_seconds_sum") == 2.5


def test_codes_that_nobody_knows_share_one_label() -> None:
    metrics = PrometheusMetrics()
    for code in range(10_000, 12_000):
        metrics.agent_session_closed(code)
        metrics.message_sent("refused", code)
        metrics.http_request("/", code, 0.0)
    assert value(metrics, "relevo_agent_sessions_closed_total", code="other") == 2_000
    assert value(metrics, "relevo_messages_sent_total", result="refused", code="other") == 2_000
    assert value(metrics, "relevo_http_requests_total", route="/", status="other") == 2_000


def test_labels_do_not_grow_without_end_whatever_is_passed() -> None:
    metrics = PrometheusMetrics()
    for number in range(1_000):
        metrics.turn_finished(f"result {number}", 1.0)
        metrics.call_found(f"+57300{number:07}", f"x{number}")
        metrics.http_request(f"/{number}", 200, 0.0)
    assert len(samples(metrics)) < 2_500
    assert value(metrics, "relevo_turns_total", result="other") == 1_000 - 32
    assert b"+57300" not in metrics.render()


def test_queue_lengths_stay_until_they_are_set_again() -> None:
    metrics = PrometheusMetrics()
    queues = Queues(inbound_pending=3, outbound_pending=2, outbound_in_doubt=1, dead_letters=0)
    metrics.queue_lengths(attrs.asdict(queues))
    assert value(metrics, "relevo_queue_length", queue="inbound_pending") == 3
    metrics.queue_lengths({"inbound_pending": 0})
    assert value(metrics, "relevo_queue_length", queue="inbound_pending") == 0
    assert value(metrics, "relevo_queue_length", queue="outbound_pending") == 2


def test_a_watched_gauge_is_read_at_every_scrape() -> None:
    metrics, sockets = PrometheusMetrics(), [1, 2]
    metrics.watch("open_sockets", "Agent sockets that are open", lambda: len(sockets))
    assert value(metrics, "relevo_open_sockets") == 2
    sockets.pop()
    assert value(metrics, "relevo_open_sockets") == 1


def test_every_name_has_the_prefix_and_registries_are_apart() -> None:
    first, second = PrometheusMetrics(), PrometheusMetrics()
    first.turn_finished("answered", 1.0)
    assert value(second, "relevo_turns_total", result="answered") is None
    assert {name for name, _ in samples(first) if not name.startswith("relevo_")} == set()


@pytest.mark.parametrize("metric", ["relevo_time_to_answer_seconds", "relevo_event_loop_delay_seconds"])
def test_the_content_type_is_that_of_prometheus_text(metric: str) -> None:
    metrics = PrometheusMetrics()
    assert metrics.content_type.startswith("text/plain; version=")
    assert f"# TYPE {metric} histogram".encode() in metrics.render()
