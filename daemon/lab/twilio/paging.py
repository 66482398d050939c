"""Lists in pages (Twilio docs: usage/twilios-response#pagination)."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from daemon.lab.twilio.errors import RestError
from daemon.lab.twilio.rest import Asked, Reply

PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 1_000

Item = TypeVar("Item")


def page(
    asked: Asked,
    key: str,
    items: Iterable[Item],
    *,
    ordinal: Callable[[Item], int],
    show: Callable[[Item], dict[str, Any]],
) -> Reply:
    """One page of a list.

    `items` is everything the list holds, by descending ordinal, and `key` its name in the answer. The token of the
    next page says after which item it begins, so that what is added meanwhile moves nothing.

    Raises:
        RestError: 20001, a parameter that does not parse.
    """
    size = min(PAGE_SIZE_MAX, max(1, _whole(asked, "PageSize", PAGE_SIZE_DEFAULT)))
    number = _whole(asked, "Page", 0)
    below = _token(asked)
    rest = iter(items if below is None else (item for item in items if ordinal(item) < below))
    shown = list(islice(rest, size))
    more = next(rest, None) is not None
    start = number * size
    return Reply(
        body={
            key: [show(item) for item in shown],
            "end": start + len(shown) - 1 if shown else start,
            "first_page_uri": _uri(asked, size, 0, None),
            "next_page_uri": _uri(asked, size, number + 1, f"PA{ordinal(shown[-1])}") if more else None,
            "page": number,
            "page_size": size,
            "previous_page_uri": _uri(asked, size, number - 1, None) if number else None,
            "start": start,
            "uri": _uri(asked, size, number, asked.query.get("PageToken")),
        }
    )


def _whole(asked: Asked, name: str, default: int) -> int:
    text = asked.query.get(name)
    if text is None:
        return default
    if not text.isdecimal():
        raise RestError(400, 20001, f"Invalid {name}")
    return int(text)


def _token(asked: Asked) -> int | None:
    token = asked.query.get("PageToken")
    if token is None:
        return None
    if not token.startswith("PA") or not token[2:].isdecimal():
        raise RestError(400, 20001, "Invalid PageToken")
    return int(token[2:])


def _uri(asked: Asked, size: int, number: int, token: str | None) -> str:
    kept = [
        (name, value) for name, value in asked.query.pairs if name not in {"PageSize", "Page", "PageToken"}
    ]
    paging = [("PageSize", str(size)), ("Page", str(number)), *([("PageToken", token)] if token else [])]
    return f"{asked.path}?{urlencode([*kept, *paging])}"
