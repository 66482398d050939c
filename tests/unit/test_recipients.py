"""The recipients of a batch: what a CSV file may look like, and every way in which a row can be wrong."""

import csv
import io
from collections.abc import Sequence

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.cli import recipients
from daemon.cli.recipients import CheckedFile, read_recipients
from daemon.elevenlabs.batch_calls import Recipient

BOM = b"\xef\xbb\xbf"


def check(*lines: str) -> CheckedFile:
    return read_recipients("\r\n".join(lines).encode())


def problems_of(*lines: str) -> list[str]:
    return [str(problem) for problem in check(*lines).problems]


def test_every_other_column_is_a_variable_and_empty_cells_are_left_out() -> None:
    checked = check(
        "phone_number,id,name,product",
        "+573138539155,cliente-7, Alejandro ,Software IA",
        '+573001234567,,"Pérez, Ana",',
    )

    assert checked.problems == []
    assert checked.recipients == [
        Recipient(
            id="cliente-7",
            phone_number="+573138539155",
            variables={"name": "Alejandro", "product": "Software IA"},
        ),
        Recipient(id="row-2", phone_number="+573001234567", variables={"name": "Pérez, Ana"}),
    ]


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_spreadsheets_may_write_it_their_way(mark: bytes, delimiter: str, ending: str) -> None:
    lines = ["phone_number,name,", "+573138539155,Ana,", ",,", "", "+573001234567,Iván,", ""]

    checked = read_recipients(mark + ending.join(lines).replace(",", delimiter).encode())

    assert checked.problems == []
    assert [(it.id, it.variables) for it in checked.recipients] == [
        ("row-1", {"name": "Ana"}),
        ("row-2", {"name": "Iván"}),
    ]


@pytest.mark.parametrize(
    ("header", "row", "variables"),
    [
        ("phone_number", "+573138539155", {}),
        ("phone_number;name,product", '+573138539155;"a,b"', None),
        ("phone_number,note", "+573138539155,a;b;c", {"note": "a;b;c"}),
        ('phone_number;"note"', '+573138539155;"a, b"', {"note": "a, b"}),
    ],
)
def test_the_header_tells_the_separator(header: str, row: str, variables: dict[str, str] | None) -> None:
    checked = check(header, row)

    if variables is None:
        assert [problem.column for problem in checked.problems] == ['"name,product"']
    else:
        assert [it.variables for it in checked.recipients] == [variables]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("+57 313 853-9155", "+573138539155"),
        ("tel:+573138539155", "+573138539155"),
        ("+5215512345678", "+525512345678"),
        ("+5491123456789", "+5491123456789"),
        ("+551191234567", "+5511991234567"),
    ],
)
def test_numbers_are_sent_as_the_phone_network_takes_them(written: str, sent: str) -> None:
    assert [it.phone_number for it in check("phone_number", written).recipients] == [sent]


def test_every_problem_is_told_at_once_with_its_place() -> None:
    assert problems_of(
        "phone_number,id,name",
        "3138539155,a,Ana",
        "+573138539155,b,Iván",
        "",
        "+57 313 853 9155,b,Otra vez",
        ",c,Nadie",
        "+573001234567,d,Eva,sobra",
        "+573001234568",
        "+573001234569,row-9,Luz",
        "+573001234570,row-9,Mar",
    ) == [
        "line 2, phone_number: is no phone number with plus sign and country code, such as +573001234567",
        "line 5, phone_number: is the number of line 3 again",
        'line 5, id: "b" is the id of line 3 already',
        "line 6, phone_number: is missing",
        "line 7: has 4 values for 3 columns",
        "line 8: has 1 values for 3 columns",
        'line 10, id: "row-9" is the id of line 9 already',
    ]


def test_one_person_is_not_called_twice_under_two_spellings() -> None:
    assert problems_of("phone_number", "+5215512345678", "+525512345678") == [
        "line 3, phone_number: is the number of line 2 again"
    ]


def test_an_id_that_a_row_gets_is_not_given_to_another() -> None:
    assert problems_of("phone_number,id", "+573001234567,row-2", "+573001234568,") == [
        'line 3, id: "row-2" is the id of line 2 already'
    ]


def test_lines_are_those_of_the_editor_when_a_cell_goes_over_several() -> None:
    assert problems_of("phone_number,note", '+573138539155,"uno', 'dos"', "nada,x") == [
        "line 4, phone_number: is no phone number with plus sign and country code, such as +573001234567"
    ]


def test_a_file_without_the_column_says_what_it_has() -> None:
    assert problems_of("telefono;Nombre", "+573138539155;Ana") == [
        'line 1: there is no column phone_number; found "telefono", "Nombre"'
    ]


@pytest.mark.parametrize("name", ["nombre completo", "teléfono", "2do", "a-b", "x" * 65, "{{name}}", "a\tb"])
def test_a_column_that_no_prompt_can_name_is_a_problem(name: str) -> None:
    (problem,) = check(f"phone_number,{name}", "+573138539155,x").problems

    assert problem.line == 1
    assert problem.sentence.startswith("cannot name a variable")


@pytest.mark.parametrize("name", ["system__time", "secret__key"])
def test_reserved_names_are_a_problem(name: str) -> None:
    assert problems_of(f"phone_number,{name}", "+573138539155,x") == [
        f'line 1, "{name}": names that begin with system__ or secret__ are ElevenLabs\' own'
    ]


def test_a_header_names_each_column_once() -> None:
    assert problems_of("phone_number,name,name", "+573138539155,a,b") == [
        'line 1, "name": 2 columns have this name'
    ]
    assert problems_of("phone_number,,name", "+573138539155,a,b") == [
        "line 2, column 2: has a value, and no name in the header"
    ]


@pytest.mark.parametrize("content", [b"", BOM, b"\n\n", b" \n"])
def test_an_empty_file_is_a_problem(content: bytes) -> None:
    (problem,) = read_recipients(content).problems

    assert str(problem).startswith("line 1: the file is empty")


def test_a_header_alone_is_a_problem() -> None:
    assert problems_of("phone_number,name") == ["line 1: there is no recipient below the header"]


def test_another_encoding_is_a_problem_with_its_line() -> None:
    (problem,) = read_recipients("phone_number,name\n+573138539155,José\n".encode("latin-1")).problems

    assert str(problem) == "line 2: is not UTF-8: save the file as CSV UTF-8"


def test_where_quotes_are_broken_reading_ends_and_what_came_before_is_told_too() -> None:
    first, second = problems_of("phone_number,name", "nada,x", '+573138539155,"Ana', "+573001234567,Eva")

    assert first.startswith("line 2, phone_number: is no phone number")
    assert second.startswith("line 3: cannot be read from here on: ")


def test_a_batch_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipients, "RECIPIENTS_MAX", 2)
    rows = [f"+57300123456{number}" for number in range(4)]

    assert problems_of("phone_number", *rows[:2]) == []
    assert problems_of("phone_number", *rows) == ["line 4: a batch has at most 2 recipients: split the file"]


# --- Any file -------------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: name not in {"phone_number", "id"} and not name.startswith(("system__", "secret__"))
)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
# Seven zeros at the end are a withheld number.
NUMBERS = st.integers(3_000_000_001, 3_009_999_999).map(lambda digits: f"+57{digits}")


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """A header and rows as somebody means them: other numbers in every row, in any order of the columns."""
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    header = draw(st.permutations(["phone_number", *names]))
    numbers = draw(st.lists(NUMBERS, min_size=1, max_size=6, unique=True))
    rows = [[number if name == "phone_number" else draw(VALUES) for name in header] for number in numbers]
    return header, rows


def written(header: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str) -> bytes:
    table = io.StringIO(newline="")
    writer = csv.writer(table, delimiter=delimiter)
    writer.writerow(header)
    writer.writerows(rows)
    return table.getvalue().encode()


@given(tables(), st.sampled_from([",", ";"]), st.sampled_from([b"", BOM]))
def test_what_was_meant_is_what_is_sent(
    table: tuple[list[str], list[list[str]]], delimiter: str, mark: bytes
) -> None:
    header, rows = table

    checked = read_recipients(mark + written(header, rows, delimiter))

    assert checked.problems == []
    assert len(checked.recipients) == len(rows)
    for recipient, row in zip(checked.recipients, rows, strict=True):
        meant = {name: value.strip() for name, value in zip(header, row, strict=True) if value.strip()}
        assert {"phone_number": recipient.phone_number, **recipient.variables} == meant


PIECES = st.sampled_from(
    [
        "phone_number",
        "id",
        "name",
        ",",
        ";",
        "\n",
        "\r\n",
        '"',
        "+573138539155",
        "+573001234567",
        "x",
        " ",
        "\x00",
    ]
)


@given(st.binary(max_size=200) | st.lists(PIECES, max_size=40).map(lambda them: "".join(them).encode()))
def test_any_file_is_either_usable_or_has_problems(content: bytes) -> None:
    checked = read_recipients(content)

    assert checked.problems or checked.recipients
    if not checked.problems:
        numbers = [recipient.phone_number for recipient in checked.recipients]
        assert all(phonenumbers.is_valid_number(phonenumbers.parse(number)) for number in numbers)
        assert len(set(numbers)) == len(numbers)
        assert len({recipient.id for recipient in checked.recipients}) == len(numbers)
