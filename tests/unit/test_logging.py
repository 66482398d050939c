"""Log lines as they leave the process."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from daemon.observability.logging import configure_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Afterwards everything is as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def output(*, json: bool = True, level: str = "info", texts: bool = False) -> io.StringIO:
    """What is written from here on. pytest's own ways to collect log lines are cut off."""
    stream = io.StringIO()
    logging.getLogger().handlers[:] = []
    configure_logging(json=json, level=level, texts=texts, stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_logger_and_event_first() -> None:
    stream = output()
    structlog.get_logger("actors.x").info("turn answered", pieces=2)
    (line,) = lines(stream)
    assert list(line)[:4] == ["timestamp", "level", "logger", "event"]
    assert (line["level"], line["logger"], line["event"], line["pieces"]) == (
        "info",
        "actors.x",
        "turn answered",
        2,
    )
    assert line["timestamp"].endswith("Z")


def test_records_of_the_standard_library_take_the_same_way() -> None:
    stream = output()
    structlog.contextvars.bind_contextvars(conversation_id="conv_1")
    logging.getLogger("hypercorn.error").warning("from %s", "+573001239155", extra={"api_key": "k"})
    (line,) = lines(stream)
    assert (line["logger"], line["level"], line["event"]) == ("hypercorn.error", "warning", "from +57•••9155")
    assert line["conversation_id"] == "conv_1"
    assert line["api_key"] == "[redacted]"


def test_every_line_carries_what_is_bound() -> None:
    stream = output()
    with structlog.contextvars.bound_contextvars(conversation_id="conv_1", person_id=7):
        structlog.get_logger("x").info("one")
    structlog.get_logger("x").info("two")
    one, two = lines(stream)
    assert (one["conversation_id"], one["person_id"]) == ("conv_1", 7)
    assert "conversation_id" not in two


def test_numbers_secrets_and_texts_do_not_leave() -> None:
    stream = output()
    structlog.get_logger("x").info(
        "sent to +573001239155",
        to="whatsapp:+573001239155",
        body="hola",
        headers={"Authorization": "Bearer s3cr3t"},
    )
    assert not [word for word in ("3001239155", "hola", "s3cr3t") if word in stream.getvalue()]


def test_texts_stay_where_the_setting_asks_for_them() -> None:
    stream = output(texts=True)
    structlog.get_logger("x").info("sent", body="hola")
    assert lines(stream)[0]["body"] == "hola"


def fail(message: str) -> None:
    local = "a local " + "value"
    raise ValueError(message + local[:0])


@pytest.mark.parametrize("by", [structlog.get_logger, logging.getLogger])
def test_a_traceback_is_masked_and_shows_no_local_values(by: Callable[[str], Any]) -> None:
    stream = output()
    try:
        fail("no route to +573001239155, token=abc")
    except ValueError:
        by("x").exception("failed")
    (line,) = lines(stream)
    assert line["exception"].endswith("ValueError: no route to +57•••9155, token=[redacted]")
    assert "a local value" not in line["exception"]


def test_lines_below_the_level_are_left_out() -> None:
    stream = output(level="WARNING")
    structlog.get_logger("x").info("no")
    logging.getLogger("x").info("no")
    structlog.get_logger("x").warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


@pytest.mark.parametrize("name", ["httpx", "httpcore.http11", "twilio.http_client"])
def test_libraries_that_log_what_they_send_are_silent_even_when_debugging(name: str) -> None:
    stream = output(level="debug")
    logging.getLogger(name).info("Body=hola")
    assert stream.getvalue() == ""


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="no log level 'loud'"):
        configure_logging(json=True, level="loud")


def test_configuring_again_replaces_the_output() -> None:
    first, second = output(), io.StringIO()
    configure_logging(json=True, level="info", stream=second)
    structlog.get_logger("x").info("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


class _Broken:
    @override
    def __repr__(self) -> str:
        raise RuntimeError("+573001239155")


@pytest.mark.parametrize("json", [True, False])
def test_a_line_that_cannot_be_written_is_reported_without_its_values(json: bool) -> None:  # noqa: FBT001
    stream = output(json=json)
    structlog.get_logger("x").info("sent to +573001239155", broken=_Broken())
    assert "log line lost" in stream.getvalue()
    assert "RuntimeError" in stream.getvalue()
    assert "9155" not in stream.getvalue()


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_json_is_one_line_whatever_is_logged(event: str, value: str, mapping: dict[str, str]) -> None:
    stream = output()
    structlog.get_logger("x").info(event, value=value, mapping=mapping)
    logging.getLogger("x").info("%s", event)
    assert len(stream.getvalue().splitlines()) == len(lines(stream)) == 2


@given(
    st.text(),
    st.text(),
    st.dictionaries(
        # A trace has lines of its own, each marked; see below.
        st.text(min_size=1).filter(
            lambda key: key not in {"event", "exc_info", "stack_info", "stack", "exception"}
        ),
        st.text(),
    ),
)
def test_a_readable_line_is_one_line_and_moves_no_cursor(
    event: str, value: str, more: dict[str, str]
) -> None:
    stream = output(json=False)
    structlog.get_logger("x").info(event, value=[value], **{**more, "other": value})
    written = stream.getvalue()
    assert len(written.splitlines()) == 1
    assert written[:-1].isprintable()


def test_a_readable_traceback_marks_its_lines() -> None:
    stream = output(json=False)
    try:
        fail("x\n2026-01-01T00:00:00Z [info     ] forged\x1b[2J")
    except ValueError:
        structlog.get_logger("x").exception("failed")
    first, *trace = stream.getvalue().splitlines()
    assert "failed" in first
    assert all(line.startswith("  | ") for line in trace)
    assert trace[-1] == "  | 2026-01-01T00:00:00Z [info     ] forged\\x1b[2J"
