"""Where log lines come from and how they look: one chain for structlog and for the standard library's records."""

import json as json_text
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

import structlog
from attrs import frozen
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

from daemon.masking import mask, mask_text, shorten_middle

# These log requests with their parameters, bodies and headers below WARNING.
_TALKATIVE = ("httpx", "httpcore", "twilio", "trio-websocket", "urllib3")
_TRACES = ("exception", "stack")
_VALUE_MAX = 2_000
_TRACE_MAX = 16_000
_FIRST = ("timestamp", "level", "logger", "event")


def configure_logging(*, json: bool, level: str, texts: bool = False, stream: TextIO | None = None) -> None:
    """Send every log line of the process to `stream` (standard error), in place of an earlier configuration.

    Every line carries what `structlog.contextvars` has bound, the libraries' lines too. Phone numbers are masked
    and secrets redacted in every value, and a value cannot begin a line of its own. Values longer than 2,000
    characters are shortened, traces longer than 16,000.

    Args:
        json: one JSON object a line, in ASCII; else readable lines, coloured on a terminal.
        level: a level's name; libraries that log what they send are kept at WARNING whatever it is.
        texts: keep what people wrote (`daemon.masking.mask`).
        stream: where the lines go.

    Raises:
        ValueError: no level has this name.
    """
    out = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ValueError(f"no log level {level!r}")
    ours: Sequence[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*ours, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = _Output(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=ours,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _Masking(texts=texts),
                *([_json_line] if json else [_in_one_line, _console(colors=out.isatty())]),
            ],
        )
    )
    _install(handler, threshold)


class _Output(logging.StreamHandler[TextIO]):
    @override
    def handleError(self, record: logging.LogRecord) -> None:
        """Say that a line was lost. The standard library would print the record as it came, unmasked."""
        problem = sys.exc_info()[0]
        lost = {
            "event": "log line lost",
            "logger": record.name,
            "problem": getattr(problem, "__name__", None),
        }
        with suppress(OSError, ValueError):  # nobody listens any more
            self.stream.write(json_text.dumps(lost) + "\n")


def _install(output: _Output, threshold: int) -> None:
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if isinstance(handler, _Output)]:
        root.removeHandler(earlier)
    root.addHandler(output)
    root.setLevel(threshold)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(capture=True)


@frozen
class _Masking:
    texts: bool

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        traces = {
            key: mask_text(shorten_middle(event.pop(key), _TRACE_MAX))
            for key in _TRACES
            if isinstance(event.get(key), str)
        }
        return {**mask(event, texts=self.texts, length_max=_VALUE_MAX), **traces}


def _json_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in _FIRST if key in event}
    return json_text.dumps({**first, **event})


def _in_one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what would begin a new line or move the cursor; a traceback keeps its lines, each marked as such."""
    traces = {key: _marked(event.pop(key)) for key in _TRACES if key in event}
    lines = {
        _escaped(key): _escaped(value) if isinstance(value, str) else value for key, value in event.items()
    }
    return {**lines, **traces}


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _marked(trace: str) -> str:
    return "\n".join(f"  | {_escaped(line)}" for line in trace.split("\n"))


def _console(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
