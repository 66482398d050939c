"""Cuts a long answer into messages. Pure."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

_GAP: Final = re.compile(r"\s+")
_SENTENCE_END: Final = re.compile(r"[.!?…][\"'”»)\]]?$")

# A cut between paragraphs or sentences is worth a piece that is not full, but not one that is nearly empty.
_FULL_ENOUGH: Final = 0.5
# How far back a hard cut looks for the end of a character that is made of several.
_CLUSTER_MAX: Final = 32
_JOINER: Final = "\u200d"


def split(text: str, limit: int = 1600) -> list[str]:
    """The pieces of a text, in order, each at most `limit` long and none of them blank.

    Cut between paragraphs, else between sentences, else between words, else inside a word but not inside a
    character (an emoji with its modifiers, a letter with its accent) unless it alone is too long. Nothing is
    lost but the whitespace at the cuts and at both ends. A blank text has no pieces. The limit counts UTF-16
    code units, the largest of the counts that Twilio's 1,600 characters may mean.

    Raises:
        ValueError: the limit is below 2, so that an emoji would not fit.
    """
    if limit < 2:
        raise ValueError("the limit of a piece is at least 2")
    return list(_pieces(text.strip(), limit))


def length(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _pieces(rest: str, limit: int) -> Iterator[str]:
    while len(rest) > limit or length(rest) > limit:
        end, start = _cut(rest, _fitting(rest, limit))
        yield rest[:end]
        rest = rest[start:]
    if rest:
        yield rest


def _fitting(text: str, limit: int) -> int:
    """How many characters of a text that is too long fit into the limit."""
    fitting = limit
    while length(text[:fitting]) > limit:
        fitting -= max(1, (length(text[:fitting]) - limit) // 2)
    return fitting


def _cut(text: str, fitting: int) -> tuple[int, int]:
    """Where the first piece ends and where the rest begins; what is between is whitespace.

    Reads what fits and the gap at its end, each character once: every other conversation waits meanwhile.
    """
    enough = max(int(fitting * _FULL_ENOUGH), 1)
    paragraph = sentence = word = None
    # A gap that begins within what fits may reach beyond.
    for found in _GAP.finditer(text, 1, fitting + 1):
        word = gap = _GAP.match(text, found.start()) or found
        if gap.end() > enough:
            breaks = gap[0].count("\n")
            if breaks > 1:
                paragraph = gap
            if breaks or _SENTENCE_END.search(text[max(gap.start() - 2, 0) : gap.start()]):
                sentence = gap
    best = paragraph or sentence or word
    if best is not None:
        return best.span()
    hard = _hard_cut(text, fitting)
    return hard, hard


def _hard_cut(text: str, fitting: int) -> int:
    for end in range(fitting, max(fitting - _CLUSTER_MAX, 0), -1):
        if _is_boundary(text, end):
            return end
    # One endless character. Only the halves of a code point stay together.
    return fitting - 1 if fitting > 1 and _is_surrogate_pair(text, fitting) else fitting


def _is_boundary(text: str, at: int) -> bool:
    """Whether a reader sees two characters there: the main rules of Unicode's grapheme clusters (UAX 29)."""
    before, after = text[at - 1], text[at]
    if _is_surrogate_pair(text, at) or _JOINER in {before, after} or _extends(after):
        return False
    return not (_is_flag_letter(before) and _is_flag_letter(after) and _splits_flag(text, at))


def _extends(character: str) -> bool:
    """Accents, variation selectors, skin tones, and the tags of regional flags belong to what precedes them."""
    return (
        unicodedata.category(character) in {"Mn", "Mc", "Me"}
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
    )


def _is_surrogate_pair(text: str, at: int) -> bool:
    return "\ud800" <= text[at - 1] <= "\udbff" and "\udc00" <= text[at] <= "\udfff"


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _splits_flag(text: str, at: int) -> bool:
    """Two letters make a flag; an odd number of them before the cut means that one is torn apart."""
    letters = 0
    while letters < at and _is_flag_letter(text[at - letters - 1]):
        letters += 1
    return letters % 2 == 1
