"""What a turn says to the agent: whole where it fits, else the newest, the first, and how many are missing."""

from hypothesis import given
from hypothesis import strategies as st

from actors.conversation.turn_text import turn_text


def left_out(count: int) -> str:
    return f"[… {count} mensajes más …]"


def say(*texts: str, limit: int = 60) -> str:
    return turn_text(texts, max_characters=limit, left_out=left_out)


def test_what_fits_goes_as_it_is() -> None:
    assert say("Hola", "¿cuánto cuesta?") == "Hola\n¿cuánto cuesta?"


def test_the_middle_of_what_does_not_fit_is_counted() -> None:
    texts = ["primero", *(f"mensaje {number:02}" for number in range(40)), "último"]
    assert say(*texts) == "primero\n[… 38 mensajes más …]\nmensaje 38\nmensaje 39\núltimo"


def test_the_newest_is_kept_whole_where_it_can_be() -> None:
    newest = "n" * 59
    assert say("uno", "dos", newest).endswith(newest)


def test_a_newest_that_is_too_long_by_itself_is_cut() -> None:
    assert say("uno", "n" * 100) == "n" * 59 + "…"


def test_a_first_that_is_too_long_gives_way_to_newer_ones() -> None:
    assert say("p" * 56, "dos", "tres") == "[… 1 mensajes más …]\ndos\ntres"


@given(st.lists(st.text("ab ", max_size=30), min_size=1, max_size=50), st.integers(40, 200))
def test_it_never_grows_over_the_limit_and_loses_no_count(texts: list[str], limit: int) -> None:
    said = say(*texts, limit=limit)
    assert len(said) <= limit
    assert said.endswith(texts[-1])
    lines = said.split("\n")
    marks = [line for line in lines if line.startswith("[…")]
    for mark in marks:
        assert lines == [*texts[: lines.index(mark)], mark, *texts[-(len(lines) - lines.index(mark) - 1) :]]
        assert mark == left_out(len(texts) - len(lines) + 1)
