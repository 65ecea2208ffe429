from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_bridge.reading import Missing, attempt, first_known, is_known, value_or
from fairlead_bridge.tree import Tree, parse_list


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(str(tmp_path), "/sys")


def test_integer_reads_what_the_kernel_writes(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("-42\n")
    assert tree.integer("a", -100, 100) == -42


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("12 34", "expected an integer"),
        ("0x10", "expected an integer"),
        ("9" * 20, "expected 0.."),
        ("9" * 5000, "expected an integer"),
        ("١٢", "expected an integer"),
        ("-1", "expected 0.."),
    ],
)
def test_what_is_no_integer_in_range_is_garbled(tree: Tree, tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a").write_text(text)
    reading = tree.integer("a")
    assert isinstance(reading, Missing)
    assert reading.kind == "garbled"
    assert reading.what == "/sys/a"
    assert why in reading.why


def test_absent_directory_loop_and_endless_file_are_missing(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "directory").mkdir()
    kinds = {name: tree.text(name) for name in ("nothing", "loop", "endless", "directory")}
    assert {name: reading.kind for name, reading in kinds.items() if isinstance(reading, Missing)} == {
        "nothing": "absent",
        "loop": "refused",
        "endless": "garbled",
        "directory": "refused",
    }


def test_a_fifo_does_not_hang(tree: Tree, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert isinstance(tree.text("fifo"), Missing)


def test_entries_are_in_natural_order(tree: Tree, tmp_path: Path) -> None:
    for name in ("cpu10", "cpu2", "cpu1"):
        (tmp_path / name).mkdir()
    assert tree.entries("") == ("cpu1", "cpu2", "cpu10")
    assert tree.matches("", r"cpu[0-9]") == ("cpu1", "cpu2")
    assert tree.matches("gone", r".*") == ()


@settings(derandomize=True)
@given(st.sets(st.integers(0, 65535), min_size=1, max_size=40))
def test_lists_survive_a_round_trip(numbers: set[int]) -> None:
    assert parse_list(",".join(str(number) for number in sorted(numbers))) == tuple(sorted(numbers))


@settings(derandomize=True)
@given(st.text(alphabet="0123456789-, \n³", max_size=30))
def test_any_text_is_a_list_or_no_list(text: str) -> None:
    numbers = parse_list(text)
    assert all(0 <= number < 65536 for number in numbers)


@pytest.mark.parametrize("text", ["3-1", "0-99999999", "1,,2", "a", "-1", "1-2-3", ""])
def test_what_is_no_list_is_empty(text: str) -> None:
    assert parse_list(text) == ()


def test_a_missing_reading_is_false_and_a_zero_is_known() -> None:
    missing = Missing("x", "y")
    assert not missing
    assert is_known(0) and not is_known(missing)
    assert value_or(0, 5) == 0 and value_or(missing, 5) == 5


def test_first_known_prefers_a_telling_reason() -> None:
    denied = Missing("b", "permission denied", "denied")
    assert first_known(lambda: Missing("a", "none"), lambda: 3) == 3
    assert first_known(lambda: Missing("a", "none"), lambda: denied) is denied


def test_a_fault_in_a_sensor_becomes_missing() -> None:
    def broken() -> int:
        raise ZeroDivisionError("by design")

    reading = attempt("part", broken)
    assert reading == Missing("part", "ZeroDivisionError: by design", "failed")
