"""The recipients of a batch, out of a CSV file. Pure.

The header names the columns: `phone_number`, perhaps `id`, and every other one is a dynamic variable of the call.
Cells are taken without the spaces around them, empty ones are left out, and so are rows of empty cells.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import phonenumbers
from attrs import Factory, define, field, frozen
from typing_extensions import override

from actors.conversation.identity import canonical_number, whatsapp_address_candidates
from daemon.elevenlabs.batch_calls import RECIPIENTS_MAX, RESERVED_PREFIXES, Recipient
from daemon.settings.problems import show

PHONE: Final = "phone_number"
ID: Final = "id"
_DELIMITERS: Final = (",", ";")
# What a template of ours or a prompt can name; ElevenLabs does not say what else it takes.
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@frozen
class RowProblem:
    """Something that keeps a row from being called. `column` is empty when the whole row is meant."""

    line: int
    column: str
    sentence: str

    @override
    def __str__(self) -> str:
        place = f"line {self.line}" + (f", {self.column}" if self.column else "")
        return f"{place}: {self.sentence}"


@frozen(kw_only=True)
class CheckedFile:
    """Every problem, in the order of the lines; the recipients are all there when there is none."""

    recipients: Sequence[Recipient] = ()
    problems: Sequence[RowProblem] = ()


def read_recipients(content: bytes) -> CheckedFile:
    """Check a whole file: UTF-8 with or without byte order mark, separated by commas or by semicolons."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return CheckedFile(problems=[RowProblem(line, "", "is not UTF-8: save the file as CSV UTF-8")])
    check = _Check()
    try:
        check.read(_rows(text, _delimiter_of(text)))
    except _BrokenRowError as error:
        # Where the quotes are wrong nobody knows any more which line is which.
        check.note(error.line, "", f"cannot be read from here on: {error}")
    return CheckedFile(recipients=check.recipients, problems=check.problems)


@frozen
class _Row:
    """`line` is the first one: a cell in quotes may go over several."""

    line: int
    cells: Sequence[str]


class _BrokenRowError(ValueError):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def _rows(text: str, delimiter: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            row = _Row(line, [cell.strip() for cell in cells])
            if any(row.cells):
                yield row
            line = reader.line_num + 1
    except csv.Error as error:
        raise _BrokenRowError(line, str(error)) from error


def _delimiter_of(text: str) -> str:
    """The one that finds the phone numbers, or else the one that finds more columns."""

    def found(delimiter: str) -> tuple[bool, int]:
        try:
            header = next(_rows(text, delimiter), None)
        except _BrokenRowError:
            return False, 0
        return (False, 0) if header is None else (PHONE in header.cells, len(header.cells))

    return max(_DELIMITERS, key=found)


@define
class _Check:
    """One file being read. Problems are noted, and reading goes on.

    Attributes:
        lines_by_number, lines_by_id: where a canonical number or an id was first seen.
    """

    recipients: list[Recipient] = Factory(list)
    problems: list[RowProblem] = Factory(list)
    header: Sequence[str] = ()
    lines_by_number: dict[str, int] = field(factory=dict)
    lines_by_id: dict[str, int] = field(factory=dict)

    def note(self, line: int, column: str, sentence: str) -> None:
        self.problems.append(RowProblem(line, column, sentence))

    def read(self, rows: Iterator[_Row]) -> None:
        header = next(rows, None)
        if header is None:
            self.note(1, "", f"the file is empty: its first line has to name the columns, {PHONE} among them")
            return
        self.header = header.cells
        self._check_header(header.line)
        if PHONE not in self.header:
            return
        position = 0
        for position, row in enumerate(rows, start=1):
            if position > RECIPIENTS_MAX:
                self.note(row.line, "", f"a batch has at most {RECIPIENTS_MAX} recipients: split the file")
                return
            self._read_row(position, row)
        if position == 0:
            self.note(header.line, "", "there is no recipient below the header")

    def _check_header(self, line: int) -> None:
        if PHONE not in self.header:
            found = ", ".join(map(show, filter(None, self.header)))
            self.note(line, "", f"there is no column {PHONE}; found {found}")
        for name, count in Counter(filter(None, self.header)).items():
            if count > 1:
                self.note(line, show(name), f"{count} columns have this name")
            if name not in {PHONE, ID} and (flaw := _flaw_of_variable(name)):
                self.note(line, show(name), flaw)

    def _read_row(self, position: int, row: _Row) -> None:
        width = len(self.header)
        if len(row.cells) < width or any(row.cells[width:]):
            self.note(row.line, "", f"has {len(row.cells)} values for {width} columns")
            return
        values = dict(zip(self.header, row.cells, strict=False))
        self._check_nameless(row)
        number = self._number(row.line, values.pop(PHONE))
        name = self._id(row.line, values.pop(ID, "") or f"row-{position}")
        variables = {variable: value for variable, value in values.items() if variable and value}
        self.recipients.append(Recipient(id=name, phone_number=number, variables=variables))

    def _check_nameless(self, row: _Row) -> None:
        for place, (name, value) in enumerate(zip(self.header, row.cells, strict=False), start=1):
            if value and not name:
                self.note(row.line, f"column {place}", "has a value, and no name in the header")

    def _number(self, line: int, text: str) -> str:
        canonical, dialled = canonical_number(text), _dialled(text)
        if not text:
            self.note(line, PHONE, "is missing")
        elif canonical is None or dialled is None:
            self.note(
                line, PHONE, "is no phone number with plus sign and country code, such as +573001234567"
            )
        elif (first := self.lines_by_number.setdefault(canonical, line)) != line:
            self.note(line, PHONE, f"is the number of line {first} again")
        return dialled or ""

    def _id(self, line: int, name: str) -> str:
        if (first := self.lines_by_id.setdefault(name, line)) != line:
            self.note(line, ID, f"{show(name)} is the id of line {first} already")
        return name


def _dialled(text: str) -> str | None:
    """The number in E.164 as the phone network takes it: as it was written, since an Argentine mobile is not
    reached without its 9, unless that spelling is one which only WhatsApp kept.
    """
    return next(
        (
            number
            for number in whatsapp_address_candidates(text)
            if phonenumbers.is_valid_number(phonenumbers.parse(number))
        ),
        None,
    )


def _flaw_of_variable(name: str) -> str:
    if name.startswith(RESERVED_PREFIXES):
        return f"names that begin with {' or '.join(RESERVED_PREFIXES)} are ElevenLabs' own"
    if not _VARIABLE.fullmatch(name):
        return "cannot name a variable: up to 64 letters a to z, digits and underscores, no digit first"
    return ""
