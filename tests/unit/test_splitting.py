"""`actors.conversation.splitting`: a long answer as several messages."""

import time
import unicodedata
from itertools import accumulate, pairwise

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


def counted_as_utf16(text: str) -> int:
    return sum(2 if character > "\uffff" else 1 for character in text)


def ends_of(text: str, pieces: list[str]) -> list[int]:
    """Where each piece ends in the text, if they are what it says in its order and only whitespace is between them."""
    position, ends = 0, []
    for piece in pieces:
        begin = text.index(piece, position)
        assert not text[position:begin].strip(), "something is lost"
        position = begin + len(piece)
        ends.append(position)
    assert not text[position:].strip(), "the end is lost"
    return ends


@given(text=TEXTS, limit=LIMITS)
@example(text="a" + " " * 100 + "\u0301b", limit=3)
@example(text="\ud83d\ude00" * 5, limit=3)
def test_every_piece_fits_and_nothing_but_whitespace_is_lost(text: str, limit: int) -> None:
    pieces = split(text, limit)
    assert all(piece.strip() == piece != "" for piece in pieces)
    assert all(counted_as_utf16(piece) <= limit for piece in pieces)
    ends_of(text, pieces)


@given(text=TEXTS, limit=LIMITS)
def test_what_fits_stays_whole(text: str, limit: int) -> None:
    if counted_as_utf16(text.strip()) <= limit:
        assert split(text, limit) == [text.strip()] * bool(text.strip())


# What a reader takes for one character, some of many code points; no two of them join.
CHARACTERS = [
    "a",
    "ñ",
    "😀",
    "e\u0301",
    "👍🏽",
    "👩‍👩‍👧",
    "❤\ufe0f",
    "1\ufe0f\u20e3",
    "🇲🇽",
    "🇨🇴",
    "क\u094d",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
]


@given(
    characters=st.lists(st.sampled_from([*CHARACTERS, " ", "\n"]), max_size=60),
    limit=st.integers(min_value=max(map(length, CHARACTERS)), max_value=60),
)
def test_no_character_is_torn_apart_where_one_fits(characters: list[str], limit: int) -> None:
    text = "".join(characters)
    ends = ends_of(text, split(text, limit))
    assert set(ends) <= set(accumulate(map(len, characters)))


@given(text=st.text("\ud83d\ude00\U0001f600", min_size=1), limit=LIMITS)
def test_the_halves_of_a_code_point_stay_together(text: str, limit: int) -> None:
    for end in ends_of(text, split(text, limit))[:-1]:
        assert not (text[end - 1] == "\ud83d" and text[end] == "\ude00")


LINKS = st.from_regex(r"https://[a-z]{1,9}\.co(/[a-z0-9.,!?=&%-]{1,9}){0,4}", fullmatch=True)


@given(
    words=st.lists(LINKS | st.sampled_from(["Mire:", "aquí.", "😀"]), min_size=1),
    gap=st.sampled_from([" ", "\n", "\n\n", "  \n"]),
    limit=st.integers(min_value=60, max_value=200),
)
def test_a_link_that_fits_is_never_broken(words: list[str], gap: str, limit: int) -> None:
    pieces = split(gap.join(words), limit)
    assert [word for piece in pieces for word in piece.split()] == words


@given(text=TEXTS, limit=LIMITS)
def test_pieces_of_the_pieces_are_the_pieces(text: str, limit: int) -> None:
    pieces = split(text, limit)
    assert [again for piece in pieces for again in split(piece, limit)] == pieces


@pytest.mark.parametrize(
    "text", [" " * 500_000, "\n \n" * 200_000, "a" * 500_000, "e" + "\u0301" * 300_000, "🇲🇽" * 99_999]
)
def test_an_endless_answer_takes_no_endless_time(text: str) -> None:
    began = time.process_time()
    split(f"a{text}b")
    assert time.process_time() - began < 1


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
