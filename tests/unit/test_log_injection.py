"""What strangers send us, in log lines: it can neither begin a line, nor draw on a terminal, nor fill a disk."""

import io
import json
import logging
import unicodedata
from collections.abc import Iterator

import pytest
import structlog

from daemon.masking import mask, shorten, shorten_middle
from daemon.observability.logging import configure_logging

EVIL = {
    "a new line": 'x\n{"level": "info", "event": "forged"}',
    "CR LF": "x\r\n2026-01-01T00:00:00Z [info     ] forged",
    "a line separator": "x\u2028forged",
    "a next line": "x\x85forged",
    "a form feed": "x\x0cforged\x0b",
    "colours": "x\x1b[31mred\x1b[0m",
    "a cleared screen": "\x1b[2J\x1b[H",
    "a window title": "\x1b]0;forged\x07",
    "an eight-bit escape": "\x9b2J",
    "NUL": "a\0b",
    "backspaces": "admin\x08\x08\x08\x08\x08",
    "a bidi override": "gpj.\u202eexe",
    "bidi isolates": "\u2066a\u2069\u200f",
    "a lone surrogate": "a\ud800b\udfff",
    "invisible letters": "a\u200bb\ufeffc\U000e0041",
    "quotes": "\"}, {'x': \"y",
    "a format": "%s %(x)s {0} {x!r}",
    "a megabyte": "x" * 1_000_000,
    "a megabyte of digits": "1 " * 500_000,
    "a megabyte of lines": "\n" * 1_000_000,
}
LINE_MAX = 40_000


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def logged(evil: str, *, json: bool) -> str:
    """One line of each kind in which something from outside may stand: as value, key, event, error; ours and a library's."""
    stream = io.StringIO()
    logging.getLogger().handlers[:] = []
    configure_logging(json=json, level="debug", stream=stream)
    log = structlog.get_logger("x")
    log.info("refused", path=evil, headers={"User-Agent": evil, evil: "x"}, values=[evil, (evil,)])
    log.info(evil)
    log.info("failed", detail=ValueError(evil), octets=evil.encode(errors="replace"))
    log.info("bound", **{f"ProfileName {evil[:50]}": evil})
    logging.getLogger("library").warning("client said %s", evil)
    return stream.getvalue()


@pytest.mark.parametrize("case", EVIL)
def test_a_json_line_is_one_line_of_plain_ascii(case: str) -> None:
    lines = logged(EVIL[case], json=True).split("\n")
    assert lines.pop() == ""
    assert len(lines) == 5
    for line in lines:
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < LINE_MAX
        assert json.loads(line)["event"] != "forged"


@pytest.mark.parametrize("case", EVIL)
def test_a_readable_line_is_one_line_and_leaves_the_terminal_alone(case: str) -> None:
    written = logged(EVIL[case], json=False)
    assert written.endswith("\n")
    assert len(written.splitlines()) == 5
    for line in written.splitlines():
        assert not {unicodedata.category(char) for char in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert len(line) < LINE_MAX
    written.encode()


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_traceback_with_strangers_words_stays_short_and_keeps_its_end(json_lines: bool) -> None:  # noqa: FBT001
    stream = io.StringIO()
    logging.getLogger().handlers[:] = []
    configure_logging(json=json_lines, level="info", stream=stream)
    try:
        int("\x1b[2J" + "y" * 1_000_000 + "the end", base=10)
    except ValueError:
        structlog.get_logger("x").exception("failed")
    written = stream.getvalue()
    assert len(written) < LINE_MAX
    assert "Traceback" in written
    assert "the end" in written
    assert "\x1b" not in written


@pytest.mark.parametrize("length_max", range(10, 40))
def test_nothing_of_a_number_is_left_where_a_text_is_cut(length_max: int) -> None:
    text = "llame al +57 300 123 9155 o al 3009998877, gracias"
    for cut in (shorten(text, length_max), shorten_middle(text, length_max)):
        shown = mask(cut)
        assert not [part for part in ("300", "123 9", "99988") if part in shown]


def test_a_dict_of_many_items_is_cut_too() -> None:
    many = {f"field{number}": number for number in range(10_000)}
    assert len(mask(many, length_max=100)) == 100
    assert len(mask({"all": list(many)}, length_max=100)["all"]) == 100
    assert len(mask(many)) == 10_000
