"""Fusion is as good as its assumption allows, and never more certain than it may be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_isac.collaboration.fusion import Estimate, fuse, predicted, to_plane
from fairlead_isac.errors import IsacError


def covariance(random: np.random.Generator) -> np.ndarray:
    root = random.normal(size=(4, 4))
    return root @ root.T + 0.1 * np.eye(4)


def test_independent_estimates_add_their_information() -> None:
    random = np.random.default_rng(0)
    parts = [Estimate(f"c{n}", 1.0, random.normal(size=4), covariance(random)) for n in range(3)]
    fused = fuse(parts)
    inverses = [np.linalg.inv(each.covariance) for each in parts]
    np.testing.assert_allclose(np.linalg.inv(fused.covariance), sum(inverses), rtol=1e-8)
    best = np.linalg.solve(sum(inverses), sum(i @ e.mean for i, e in zip(inverses, parts, strict=True)))
    np.testing.assert_allclose(fused.mean, best, rtol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_intersection_is_consistent_under_any_correlation(seed: int) -> None:
    """The true error covariance of the fused estimate is at most what it claims, whatever the joint covariance is."""
    random = np.random.default_rng(seed)
    joint_root = random.normal(size=(8, 8))
    joint = joint_root @ joint_root.T + 1e-3 * np.eye(8)
    first = Estimate("a", 0.0, np.zeros(4), joint[:4, :4])
    second = Estimate("b", 0.0, np.zeros(4), joint[4:, 4:])
    # The fused mean is linear in both means: find its gains by unit vectors.
    gains = np.zeros((4, 8))
    for column in range(8):
        unit = np.eye(8)[column]
        shifted = [Estimate("a", 0.0, unit[:4], first.covariance), Estimate("b", 0.0, unit[4:], second.covariance)]
        gains[:, column] = fuse(shifted, "unknown").mean
    claimed = fuse([first, second], "unknown").covariance
    assert np.linalg.eigvalsh(claimed - gains @ joint @ gains.T)[0] >= -1e-8 * np.trace(claimed)
    assert np.trace(claimed) <= min(np.trace(first.covariance), np.trace(second.covariance)) * (1 + 1e-9)


def test_two_cells_that_look_across_find_what_neither_can() -> None:
    """Ranges are good and angles are poor: from two sides both coordinates are good."""
    target = np.array([100.0, 100.0])
    spread = (0.5, 0.05, 0.2)
    east = to_plane("east", (0.0, 100.0), 0.0, 0.0, (100.0, 0.0, 1.0), spread)
    north = to_plane("north", (100.0, 0.0), np.pi / 2, 0.0, (100.0, 0.0, 2.0), spread)
    fused = fuse([east, north])
    np.testing.assert_allclose(fused.mean, [*target, 1.0, 2.0], atol=0.05)
    assert east.position_std_m > 5.0 and fused.position_std_m < 0.75


def test_measurements_in_the_plane_are_as_certain_as_they_say() -> None:
    random = np.random.default_rng(1)
    truth, deviations = (200.0, 0.3, -5.0), (0.5, 0.01, 0.3)
    noisy = np.array(truth) + random.normal(size=(4000, 3)) * deviations
    found = np.array([to_plane("c", (3.0, 4.0), 0.5, 0.0, tuple(each), deviations).mean for each in noisy])
    claimed = to_plane("c", (3.0, 4.0), 0.5, 0.0, truth, deviations).covariance[:2, :2]
    np.testing.assert_allclose(np.cov(found[:, :2].T), claimed, rtol=0.1, atol=0.05)


def test_prediction_moves_and_grows_uncertain_both_ways() -> None:
    now = Estimate("c", 1.0, np.array([0.0, 0.0, 10.0, -5.0]), np.eye(4))
    for time in (0.5, 1.5):
        moved = predicted(now, time)
        np.testing.assert_allclose(moved.mean[:2], np.array([10.0, -5.0]) * (time - 1.0))
        assert moved.position_std_m > now.position_std_m
    np.testing.assert_allclose(predicted(now, 1.0).covariance, now.covariance)


def test_bad_estimates_are_named() -> None:
    good = Estimate("c", 0.0, np.zeros(4), np.eye(4))
    with pytest.raises(IsacError, match="'broken'"):
        Estimate("broken", 0.0, np.zeros(4), -np.eye(4))
    with pytest.raises(IsacError, match="at least one"):
        fuse([])
    with pytest.raises(IsacError, match="one time"):
        fuse([good, predicted(good, 1.0)])
    with pytest.raises(IsacError, match="accepted: none, unknown"):
        fuse([good], "some")  # type: ignore[arg-type]
