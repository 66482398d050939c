"""`actors.conversation.splitting`: a long answer as several messages."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.conversation.splitting import length, split

PROSE = st.lists(
    st.sampled_from(
        [
            "Hola",
            "¿cómo",
            "está?",
            "Bien.",
            "Sí;",
            "x" * 30,
            "😀",
            "👩‍👩‍👧",
            "é",
            "e\u0301",
            "\n",
            "\n\n",
            " ",
            "  ",
        ]
    ),
    max_size=80,
).map(" ".join)
TEXTS = PROSE | st.text(max_size=200)
LIMITS = st.integers(min_value=2, max_value=60)


def without_whitespace(text: str) -> str:
    return "".join(text.split())


class TestWhereItCuts:
    def test_a_short_text_stays_whole(self) -> None:
        assert split("  Hola,\n\n¿cómo está?  ") == ["Hola,\n\n¿cómo está?"]

    @pytest.mark.parametrize("text", ["", " ", "\n\n\t\u00a0"])
    def test_a_blank_text_has_no_pieces(self, text: str) -> None:
        assert split(text) == []

    def test_between_paragraphs_first(self) -> None:
        assert split("Uno. Dos.\n\nTres. Cuatro.", 16) == ["Uno. Dos.", "Tres. Cuatro."]

    def test_between_sentences_next(self) -> None:
        assert split("¿Uno dos? ¡Tres cuatro! Cinco seis.", 24) == ["¿Uno dos? ¡Tres cuatro!", "Cinco seis."]

    def test_a_line_is_a_sentence(self) -> None:
        assert split("- uno dos\n- tres cuatro", 14) == ["- uno dos", "- tres cuatro"]

    def test_between_words_next(self) -> None:
        assert split("uno dos tres cuatro", 9) == ["uno dos", "tres", "cuatro"]

    def test_a_word_moves_as_a_whole_if_it_fits_anywhere(self) -> None:
        link = "https://empresa.com/" + "a" * 20
        assert split(f"Mire: {link}", 42) == ["Mire:", link]

    def test_within_a_word_last(self) -> None:
        assert split("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]

    def test_an_early_paragraph_does_not_leave_a_piece_nearly_empty(self) -> None:
        assert split("Hola.\n\n" + "uno " * 10, 30)[0].startswith("Hola.\n\nuno uno")

    def test_a_quoted_sentence_ends_after_its_quote(self) -> None:
        assert split("Dijo «sí, claro.» Luego nada más", 20) == ["Dijo «sí, claro.»", "Luego nada más"]


class TestWhatItKeepsTogether:
    @pytest.mark.parametrize(
        "character",
        [
            "e\u0301",
            "👍🏽",
            "👩‍👩‍👧",
            "❤️",
            "1️⃣",
            "🇲🇽",
            "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            "\ud83d\ude00",
        ],
    )
    def test_a_character_of_several_parts(self, character: str) -> None:
        limit = length(character) * 2 + 1
        pieces = split(character * 7, limit)
        assert pieces == [character * 2] * 3 + [character]

    def test_an_endless_character_is_cut_all_the_same(self) -> None:
        pieces = split("e" + "\u0301" * 500, 100)
        assert "".join(pieces) == "e" + "\u0301" * 500
        assert max(map(length, pieces)) == 100

    def test_an_emoji_counts_twice(self) -> None:
        assert split("😀" * 5, 4) == ["😀😀", "😀😀", "😀"]

    def test_a_limit_that_holds_no_emoji_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 2"):
            split("x", 1)


@given(text=TEXTS, limit=LIMITS)
@example(text="a" + " " * 100 + "\u0301b", limit=3)
@example(text="\ud83d\ude00" * 5, limit=3)
def test_every_piece_fits_and_nothing_but_whitespace_is_lost(text: str, limit: int) -> None:
    pieces = split(text, limit)
    assert all(length(piece) <= limit for piece in pieces)
    assert all(piece.strip() for piece in pieces)
    assert without_whitespace("".join(pieces)) == without_whitespace(text)
    position = 0
    for piece in pieces:  # each stands in the text as it is
        position = text.index(piece, position) + len(piece)


WORDS = st.lists(st.sampled_from(["Hola", "¿cómo", "está?", "Bien.", "x" * 30, "😀"]), max_size=80).map(
    " ".join
)


@given(text=WORDS, limit=st.integers(min_value=20, max_value=200))
def test_no_two_neighbours_would_have_gone_into_one_half_full(text: str, limit: int) -> None:
    pieces = split(text, limit)
    for one, next_one in pairwise(pieces):
        assert length(one) + length(next_one) >= limit // 2 - 1


@given(text=PROSE, limit=st.integers(min_value=20, max_value=60))
def test_no_piece_begins_with_what_belongs_to_the_one_before(text: str, limit: int) -> None:
    for piece in split(text, limit)[1:]:
        assert not unicodedata.combining(piece[0])
        assert piece[0] != "\u200d"


@given(text=TEXTS, limit=LIMITS)
def test_pieces_are_final(text: str, limit: int) -> None:
    for piece in split(text, limit):
        assert split(piece, limit) == [piece.strip()]
