"""Alphas by head: they keep to the bytes, lose less than shared ones, and come back from a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fairlead_elastic_serving.arena.formats import K4V2, K8V4
from fairlead_elastic_serving.compression import calibration
from fairlead_elastic_serving.compression.calibration import GRID_HIGH, GRID_LOW, calibrate, load, outcome, save
from fairlead_elastic_serving.errors import ElasticServingError
from fairlead_elastic_serving.kernels.tiers import Tiers

TIERS = Tiers.of(K8V4, K4V2, 128, 8192)
ERRORS = (0.005, 0.08)


def samples(seed: int, prompts: int = 3, tokens: int = 400) -> list[np.ndarray]:
    """Two layers of three heads: one looks at few tokens, one at all alike, one between."""
    random = np.random.default_rng(seed)
    spreads = np.array([[3.0, 0.1, 1.0], [2.0, 0.3, 0.6]])
    return [np.exp(random.normal(-0.5, spreads[:, None], (2, tokens, 3))).astype(np.float32) for _ in range(prompts)]


def shared(data: list[np.ndarray], budget: float) -> float:
    """The least that alphas shared by all heads lose within a budget."""
    best = 1.0
    for high in GRID_HIGH:
        for low in (low for low in GRID_LOW if low <= high):
            alphas = [np.full((2, 3), alpha, np.float32) for alpha in (high, low)]
            both = np.array([outcome(sample, TIERS, *alphas, ERRORS) for sample in data])
            if both[:, 0].mean() <= budget:
                best = min(best, both[:, 1].mean())
    return best


@pytest.mark.parametrize("budget", [70.0, 100.0, 150.0])
def test_alphas_by_head_lose_less_than_shared_ones_in_the_same_bytes(budget: float) -> None:
    data = samples(1)
    found = calibrate(data, TIERS, budget)
    assert found.token_bytes <= budget
    assert found.lost < shared(data, budget)
    assert len({tuple(pair) for pair in np.stack([found.high, found.low], -1).reshape(-1, 2).tolist()}) > 1


def test_other_prompts_take_about_the_same_bytes() -> None:
    found = calibrate(samples(1), TIERS, 90.0)
    others = [outcome(sample, TIERS, found.high, found.low, ERRORS) for sample in samples(2)]
    assert np.mean([size for size, _ in others]) == pytest.approx(found.token_bytes, rel=0.1)
    assert np.mean([lost for _, lost in others]) == pytest.approx(found.lost, abs=0.05)


def test_enough_bytes_lose_next_to_nothing() -> None:
    assert calibrate(samples(1), TIERS, 1000.0).lost == pytest.approx(ERRORS[0], abs=1e-4)


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="what the windows take"):
        calibrate(samples(1), TIERS, 5.0)
    with pytest.raises(ValueError, match="at least one prompt"):
        calibrate([], TIERS, 100.0)


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    found, path = calibrate(samples(1), TIERS, 90.0), tmp_path / "alphas.json"
    save(found, path, "model-1")
    again = load(path, "model-1", 2, 3)
    assert (again.high == found.high).all() and (again.low == found.low).all()
    assert again.thresholds(1).tier(np.ones((4, 3), np.float32)).shape == (4, 3)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path, kept = tmp_path / "alphas.json", tmp_path / "kept.json"
    first, second = (calibrate(samples(1), TIERS, budget) for budget in (70.0, 150.0))
    save(first, path, "model-1")
    os.link(path, kept)
    save(second, path, "model-1")
    # Whoever had the old file open still reads all of it.
    assert (load(kept, "model-1", 2, 3).high == first.high).all()
    assert (load(path, "model-1", 2, 3).high == second.high).all()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        save(first, tmp_path / "folder", "model-1")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["alphas.json", "folder", "kept.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, "model 'other'; accepted: 'model-1'"),
        ({"high": [[1, 1, 1]]}, r"high \(1, 3\); accepted: \(2, 3\)"),
        ({"low": [[9e9] * 3] * 2}, "accepted: high >= low >= 0"),
        ({"high": [[1, float("nan"), 1], [1] * 3]}, "accepted: high >= low >= 0"),
        ({"token_bytes": float("nan")}, "token_bytes nan; accepted: 0 and above"),
        ({"token_bytes": -1}, "token_bytes -1.0; accepted: 0 and above"),
        ({"lost": float("inf")}, "lost inf; accepted: 0 and above"),
        ({"lost": 10**400}, "OverflowError"),
        ({"low": "much"}, "ValueError"),
        ({"format": None}, "format None"),
        (None, "JSONDecodeError"),
    ],
)
def test_files_of_others_and_broken_ones_are_refused(tmp_path: Path, change: dict | None, message: str) -> None:
    path = tmp_path / "alphas.json"
    save(calibrate(samples(1), TIERS, 90.0), path, "model-1")
    path.write_text("{" if change is None else json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ElasticServingError, match=message):
        load(path, "model-1", 2, 3)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ElasticServingError, match="FileNotFoundError"):
        load(tmp_path / "none.json", "m", 1, 1)


def test_thresholds_whose_loss_is_no_number_are_never_chosen() -> None:
    size = np.array([[4.0, 4.0], [2.0, 2.0], [1.0, 1.0]])
    lost = np.array([[0.0, 0.0], [np.nan, 1.0], [3.0, np.nan]])
    assert calibration._cheapest(size, lost, 2.5).tolist() == [2, 1]
