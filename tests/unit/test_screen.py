"""What strangers wrote must not be obeyed by a terminal."""

from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from daemon.cli.screen import open_console, printable, styled


def test_control_characters_are_left_out_and_line_breaks_stay() -> None:
    assert printable({"a": ["\x1b[2Jhola\nAna\x07", 3, None]}) == {"a": ["[2Jhola\nAna", 3, None]}


def test_a_table_that_is_piped_is_cut_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("number", "note", box=None, pad_edge=False)
    table.add_row("+57…55", "x" * 300)
    table.add_row("+57…56", "y " * 200 + "z")
    open_console().print(table)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("x" * 300 + " " * 101)
    assert lines[2].endswith("z")


@pytest.mark.parametrize("name", ["[/] Ana", "[bold]Ana", "[link=x]"])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(name: str) -> None:
    console = open_console()
    console.file = StringIO()
    console.print(styled(name, "bold"), name)

    assert isinstance(console, Console)
    assert console.file.getvalue().split("\n")[0] == f"{name} {name}"
