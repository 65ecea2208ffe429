"""Tables fit the terminal they are shown on."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fairlead_agent.cli.output import WRAP_COLUMNS, Column, bytes_text, console, fitting, table

COLUMNS = ["name", Column("long", 2), Column("longer", 3), Column("why", 1, wraps=True)]
ROW = ("edge", "x" * 30, "y" * 40, "a reason in many words " * 3)


def shown(width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False).print(table("Things", COLUMNS, [ROW], width=width))
    return stream.getvalue().splitlines()


def test_a_wide_terminal_shows_everything_on_one_line() -> None:
    lines = shown(200)
    assert "not shown" not in "\n".join(lines)
    assert [line for line in lines if "edge" in line and "x" * 30 in line and "y" * 40 in line and "many words" in line]


def test_a_narrow_terminal_leaves_out_the_least_important_and_says_so() -> None:
    text = "\n".join(shown(70))
    assert "x" * 30 in text
    assert "yy" not in text
    assert "not shown here: longer" in text


@given(st.integers(20, 250))
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    assert all(len(line) <= width for line in shown(width))


@given(st.integers(1, 250))
def test_columns_without_rank_always_stay(width: int) -> None:
    from rich.text import Text

    columns = [Column("a"), Column("b", 1), Column("c", 2), Column("d", 0, wraps=True)]
    cells = [[Text("x" * 20)] * 4]
    kept = fitting(columns, cells, width)
    assert {0, 3} <= set(kept)
    assert (2 in kept) <= (1 in kept), "the highest rank goes first"
    if width >= 20 * 4 + 6:
        assert kept == [0, 1, 2, 3]


def test_what_goes_into_a_pipe_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width >= 500
    monkeypatch.setenv("COLUMNS", "90")
    assert console().width == 90
    assert WRAP_COLUMNS < 80


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (512 << 20, "512.0 MiB"), (3 << 50, "3072.0 TiB")],
)
def test_bytes_have_units(count: float | None, text: str) -> None:
    assert bytes_text(count) == text
