"""What every tool says: numbers that there was nothing to measure on are left out, and JSON stays JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fairlead_sparse_inference.sparsity.command import sparse
from fairlead_sparse_inference.sparsity.reporting import finite, rise, share, write_json


def refuse(word: str) -> Any:
    raise AssertionError(f"{word} is no JSON")


def test_what_was_not_measured_is_null() -> None:
    assert finite({"a": (1.5, math.nan), "b": [{"c": -math.inf}, "x", None, True]}) == {
        "a": [1.5, None],
        "b": [{"c": None}, "x", None, True],
    }


def test_what_was_not_measured_is_a_dash() -> None:
    assert (share(0.1234), share(math.nan)) == ("12.3%", "-")
    assert rise(0.01, 0.002) == "1.000% ± 0.200%"
    assert rise(0.01, math.nan, 1) == "1.0% (one window)"


def test_files_are_json(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"x": math.nan})
    assert json.loads((tmp_path / "deep" / "a.json").read_text(), parse_constant=refuse) == {"x": None}


@pytest.mark.parametrize("arguments", [("profile", "--out", "p.npz", "--tokens", "64"), ("perplexity",)])
def test_one_window_is_enough(checkpoint: Path, text: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    name, *options = arguments
    options = [str(tmp_path / option) if option.endswith(".npz") else option for option in options]
    common = [name, str(checkpoint), str(text), "--part", "all", *options]
    if name == "perplexity":
        common += ["--tokens", "64"]
    shown = CliRunner().invoke(sparse, common, catch_exceptions=False)
    assert shown.exit_code == 0 and "nan" not in shown.output.lower()
    told = CliRunner().invoke(sparse, [*common, "--json"], catch_exceptions=False)
    json.loads(told.output, parse_constant=refuse)
