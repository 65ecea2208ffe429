"""Thresholds: the wanted sparsity is reached, its price is told, and bad files are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fairlead_sparse_inference.sparsity.command import sparse
from fairlead_sparse_inference.sparsity.model import load_model
from fairlead_sparse_inference.sparsity.perplexity.score import Score, cross_entropy, score
from fairlead_sparse_inference.sparsity.text import read_windows
from fairlead_sparse_inference.sparsity.threshold.cut import Cut
from fairlead_sparse_inference.sparsity.threshold.file import ThresholdsError, read_thresholds


def test_levels_are_reached_and_written(stock: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.json"
    arguments = [str(stock), str(text), "--out", str(out), "--context", "32", "--sparsity", "0.5", "--sparsity", "0.9"]
    result = CliRunner().invoke(sparse, ["threshold", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    for level in content["levels"]:
        assert abs(level["measured_sparsity"] - level["sparsity"]) < 0.05
    half, most = read_thresholds(out, 2).values()
    assert all(0 < a < b for a, b in zip(half, most, strict=True))
    scored = CliRunner().invoke(
        sparse,
        [
            "perplexity",
            str(stock),
            str(text),
            "--thresholds",
            str(out),
            "--sparsity",
            "0.9",
            "--context",
            "32",
            "--json",
        ],
        catch_exceptions=False,
    )
    modes = json.loads(scored.stdout)["modes"]
    assert set(modes) == {"exact", "threshold 90%"}
    assert abs(np.mean(modes["threshold 90%"]["active"]) - 0.1) < 0.05


def test_a_threshold_of_zero_changes_nothing(stock: Path, text: Path) -> None:
    model = load_model(stock)
    rows = read_windows(text, "all", model.tokenizer, model.config, 64, 32).rows
    exact = score(model, rows)
    np.testing.assert_array_equal(score(model, rows, Cut(model.graph, [0.0, 0.0])).losses, exact.losses)
    assert score(model, rows, Cut(model.graph, [1.0, 1.0])).loss != exact.loss


def test_scores_are_the_definitions() -> None:
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(5, 7)).astype(np.float32), np.array([0, 3, 6, 1, 1])
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert cross_entropy(logits, targets) == pytest.approx(-np.log(chances[np.arange(5), targets]).mean(), rel=1e-6)
    base, other = Score(np.array([1.0, 2.0, 3.0]), 3), Score(np.array([1.1, 2.1, 3.1]), 3)
    moved, error = other.moved_from(base)
    assert moved == pytest.approx(math.expm1(0.1)) and error == pytest.approx(0, abs=1e-9)
    assert base.perplexity == pytest.approx(math.exp(2))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("nonsense", "is no thresholds' file"),
        ('{"levels": [{"sparsity": 0.5}]}', "is no thresholds' file"),
        ('{"levels": [{"sparsity": 0.5, "thresholds": [0.1]}]}', "1 thresholds; the model has 2 layers"),
        ('{"levels": [{"sparsity": 0.5, "thresholds": [0.1, -1]}]}', r"threshold -1\.0: accepted: 0 and above"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(ThresholdsError, match=says):
        read_thresholds(path, 2)
    with pytest.raises(ThresholdsError, match="no such file"):
        read_thresholds(tmp_path / "none.json", 2)
