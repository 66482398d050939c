"""What a turn says to the agent, cut to a size that an agent can read. Pure.

One webhook may bring 64 KiB of text and a person may send hundreds of them, which no language model should be
made to read.
"""

from collections.abc import Callable, Sequence

ELLIPSIS = "…"


def turn_text(texts: Sequence[str], *, max_characters: int, left_out: Callable[[int], str]) -> str:
    """The messages in order, a line each, in at most `max_characters`.

    Where that is too little, the newest is kept whole, then the first, then as many of the newest as fit;
    `left_out` says in their place how many are missing. A newest message that is too long by itself is cut at
    its end.
    """
    whole = "\n".join(texts)
    if len(whole) <= max_characters:
        return whole
    newest = texts[-1]
    if len(newest) >= max_characters:
        return newest[: max_characters - len(ELLIPSIS)] + ELLIPSIS
    # As if all were missing: the longest it can become.
    room = max_characters - len(newest) - len(left_out(len(texts))) - 1
    first, room = _take(texts[:1], room)
    middle, room = _take(texts[len(first) : -1][::-1], room)
    missing = len(texts) - len(first) - len(middle) - 1
    lines = [*first, left_out(missing), *reversed(middle), newest]
    said = "\n".join(lines)
    return said if len(said) <= max_characters else newest


def _take(texts: Sequence[str], room: int) -> tuple[list[str], int]:
    """As many from the beginning as fit into `room` with a line feed each, and what is left of it."""
    taken: list[str] = []
    for text in texts:
        if len(text) + 1 > room:
            break
        taken.append(text)
        room -= len(text) + 1
    return taken, room
