"""Command lines, quantiles, and that a quick run keeps nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import options, results_file
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.results_file import row


def parse(*arguments: str) -> options.Options:
    return options.parse("some", "What it does.", repeats=9, quick=2, arguments=arguments)


def test_repeats_are_the_asked_the_quick_or_the_full_ones() -> None:
    assert parse().repeats == 9
    assert parse("--quick").repeats == 2
    assert parse("--quick", "--repeats", "4").repeats == 4
    assert parse("--repeats", "4").command == "python -m benchmarks.some --repeats 4 --seed 1"


def test_the_command_says_what_was_not_as_by_default() -> None:
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--split", default="dev")
    more.add_argument("--side", type=int, default=256)
    more.add_argument("--vgg", type=Path)
    words = ("--split", "test", "--vgg", "/somewhere/vgg.pth", "--side", "256")
    made = options.parse("some", "", repeats=9, quick=2, arguments=words, more=more)
    assert made.command == "python -m benchmarks.some --repeats 9 --seed 1 --split test --vgg PATH"


@pytest.mark.parametrize("wrong", ["0", "-1", "x"])
def test_other_repeats_are_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--repeats", wrong)
    assert "--repeats" in capsys.readouterr().err


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_a_value_that_so_many_do_not_exceed(values: Sequence[float], share: float) -> None:
    found = options.quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) < share * len(values) + 1e-6


def test_known_quantiles() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (options.quantile(values, 0.5), options.quantile(values, 0.99)) == (50.0, 99.0)
    assert options.quantile([7.0], 0.99) == 7.0


def test_only_a_full_run_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results_file, "RESULTS", tmp_path)
    measured = [row("case", "metric", "ms", [4.0], limit=3.0)]
    parse("--quick").finish({}, measured)
    assert not list(tmp_path.iterdir())
    assert "DOES NOT HOLD" in capsys.readouterr().out
    parse().finish({"broker": "mosquitto"}, measured)
    assert '"broker": "mosquitto"' in (tmp_path / "some.json").read_text()


def test_every_benchmark_is_a_module_that_can_be_run() -> None:
    folder = Path(options.__file__).parent
    assert all((folder / f"{name}.py").exists() for name in BENCHMARKS)


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["grahp"])
    assert "grahp" in capsys.readouterr().err


def test_pictures_of_ones_own_have_a_results_file_of_their_own() -> None:
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--pictures", type=Path)
    named = [
        options.parse("some", "", repeats=9, quick=2, arguments=words, more=more).file
        for words in ((), ("--pictures", "/somewhere"))
    ]
    assert named == ["some", "some_given"]
