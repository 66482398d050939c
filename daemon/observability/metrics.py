"""The daemon's numbers, as Prometheus reads them. Every label has a bounded set of values."""

import re
from collections.abc import Callable, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from actors.failures import CLASSIFIED_CODES

_ANSWER_S = (0.5, 1, 2, 3, 5, 8, 13, 21, 34, 60, 120)
_SESSION_START_S = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30)
_OUTBOX_WAIT_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
_LOOP_DELAY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_LIVE_CALL_S = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# RFC 6455, 7.4.1, ElevenLabs' own, and the HTTP statuses of a handshake that failed.
_CLOSE_CODES = frozenset(
    {*range(1000, 1016), 3000, 4300, 400, 401, 403, 404, 408, 422, 429, 500, 502, 503, 504}
)
# Twilio docs: api/errors. Those of sending messages, WhatsApp's among them, and of the account.
_TWILIO_CODES = frozenset(
    {
        *(14107, 20001, 20003, 20404, 20429, 20500, 20503),
        *(21211, 21212, 21408, 21606, 21608, 21610, 21611, 21612, 21614, 21617, 21656),
        *range(30001, 30011),
        *(30022, 30034, 63001, 63003, 63005, 63007),
        *range(63010, 63045),
        *(63049, 63051),
        *CLASSIFIED_CODES,
    }
)
_WORD = re.compile(r"[a-z][a-z0-9 _-]{0,39}")
_WORDS_MAX = 32
_ROUTES_MAX = 100
OTHER = "other"


class _HttpMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "relevo_http_requests",
            "HTTP requests by route and status",
            ["route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "relevo_http_request_seconds",
            "Time to answer a request, by route",
            ["route"],
            buckets=_REQUEST_S,
            registry=registry,
        )


class _SessionMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.start = Histogram(
            "relevo_agent_session_start_seconds",
            "From asking for an agent session until it can be spoken to",
            buckets=_SESSION_START_S,
            registry=registry,
        )
        self.closed = Counter(
            "relevo_agent_sessions_closed", "Agent sessions that ended, by code", ["code"], registry=registry
        )


class _LiveCallMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "relevo_live_calls", "Live calls that have ended, by how", ["ending"], registry=registry
        )
        self.seconds = Histogram(
            "relevo_live_call_seconds", "Length of live calls", buckets=_LIVE_CALL_S, registry=registry
        )
        self.transfers = Counter(
            "relevo_transfers", "Advisors who were called, by what came of it", ["outcome"], registry=registry
        )


class PrometheusMetrics:
    """Every metric, in a registry of its own. Implements `actors.metrics.Metrics` and `CallMetrics` of live calls."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(namespace="relevo", registry=registry)
        self._turns = Counter("relevo_turns", "Turns by result", ["result"], registry=registry)
        self._time_to_answer = Histogram(
            "relevo_time_to_answer_seconds",
            "From a turn's begin to its answer in the outbox",
            buckets=_ANSWER_S,
            registry=registry,
        )
        self._floods = Counter(
            "relevo_floods", "People who wrote more than is answered one by one", registry=registry
        )
        self._on_sessions = _SessionMetrics(registry)
        self._messages = Counter(
            "relevo_messages_sent",
            "Attempts to send a message, by result and Twilio's code",
            ["result", "code"],
            registry=registry,
        )
        self._outbox_wait = Histogram(
            "relevo_outbox_wait_seconds",
            "From a message's place in the outbox until Twilio has taken it",
            ["purpose"],
            buckets=_OUTBOX_WAIT_S,
            registry=registry,
        )
        self._restarts = Counter(
            "relevo_actor_restarts", "Restarts after a crash", ["child"], registry=registry
        )
        self._calls = Counter(
            "relevo_calls_found", "Finished calls by where and how", ["source", "outcome"], registry=registry
        )
        self._queues = Gauge("relevo_queue_length", "Messages that wait", ["queue"], registry=registry)
        self._loop_delay = Histogram(
            "relevo_event_loop_delay_seconds",
            "How late the event loop runs a task that is due",
            buckets=_LOOP_DELAY_S,
            registry=registry,
        )
        self._on_http = _HttpMetrics(registry)
        self._on_calls = _LiveCallMetrics(registry)
        self._seen: dict[str, set[str]] = {}

    def render(self) -> bytes:
        """The exposition format, of `content_type`."""
        return generate_latest(self._registry)

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """A gauge `relevo_<name>` that is read whenever it is rendered. `read` must neither fail nor wait."""
        Gauge(f"relevo_{name}", meaning, registry=self._registry).set_function(read)

    def queue_lengths(self, lengths: Mapping[str, int]) -> None:
        """How many messages wait, by queue; stays until the next call."""
        for queue, length in lengths.items():
            self._queues.labels(self._word("queue", queue)).set(length)

    def turn_finished(self, result: str, seconds: float, /) -> None:
        self._turns.labels(self._word("turn", result)).inc()
        if result == "answered":
            self._time_to_answer.observe(seconds)

    def flood_began(self) -> None:
        self._floods.inc()

    def agent_session_opened(self, seconds: float, /) -> None:
        self._on_sessions.start.observe(seconds)

    def agent_session_closed(self, code: int | None, /) -> None:
        self._on_sessions.closed.labels(_code(code, _CLOSE_CODES)).inc()

    def message_sent(self, result: str, code: int | None, /) -> None:
        self._messages.labels(self._word("send", result), _code(code, _TWILIO_CODES)).inc()

    def message_waited(self, purpose: str, seconds: float, /) -> None:
        self._outbox_wait.labels(self._word("purpose", purpose)).observe(seconds)

    def child_restarted(self, kind: str, /) -> None:
        self._restarts.labels(self._word("child", kind)).inc()

    def call_found(self, source: str, outcome: str, /) -> None:
        self._calls.labels(self._word("source", source), self._word("outcome", outcome)).inc()

    def live_call_ended(self, ending: str, seconds: float, /) -> None:
        self._on_calls.calls.labels(self._word("ending", ending)).inc()
        self._on_calls.seconds.observe(seconds)

    def transfer_ended(self, outcome: str, /) -> None:
        self._on_calls.transfers.labels(self._word("transfer", outcome)).inc()

    def http_request(self, route: str, status: int, seconds: float, /) -> None:
        """A request was answered. `route` is the pattern that matched, never the path."""
        known = self._known("route", route, _ROUTES_MAX)
        self._on_http.requests.labels(known, str(status) if 100 <= status < 600 else OTHER).inc()
        self._on_http.seconds.labels(known).observe(seconds)

    def loop_delayed(self, seconds: float, /) -> None:
        """The event loop has run a task so much later than it was due."""
        self._loop_delay.observe(seconds)

    def _word(self, label: str, word: str) -> str:
        return self._known(label, word, _WORDS_MAX) if _WORD.fullmatch(word) else OTHER

    def _known(self, label: str, value: str, values_max: int) -> str:
        """The value, if the label had it before or has room for it: a mistake must not grow without end."""
        seen = self._seen.setdefault(label, set())
        if value not in seen:
            if len(seen) >= values_max:
                return OTHER
            seen.add(value)
        return value


def _code(code: int | None, known: frozenset[int]) -> str:
    if code is None:
        return "none"
    return str(code) if code in known else OTHER
