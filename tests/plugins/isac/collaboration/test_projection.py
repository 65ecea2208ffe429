"""A cell's answer is the nearest point of what it can do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_isac.collaboration.projection import _ActiveSet, most_steps, project
from fairlead_isac.errors import IsacError


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.integers(1, 4))
def test_satisfies_the_optimality_conditions(seed: int, size: int, faces: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.exponential(size=(faces, size)) * 10.0 ** random.uniform(-1, 1, (faces, 1))
    bounds = random.exponential(size=faces)
    if faces > 1:
        rows[-1, -1], bounds[-1] = -1.0, 0.0
    point = 2.0 * random.normal(size=size) + 1.0
    nearest, prices = project(point, rows, bounds)
    slack = bounds - rows @ nearest
    assert (nearest >= 0.0).all() and (prices >= 0.0).all()
    assert slack.min() >= -1e-6
    assert np.abs(prices * slack).max() <= 1e-6
    np.testing.assert_allclose(nearest, np.maximum(point - rows.T @ prices, 0.0), atol=1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_similar_faces_of_uneven_coordinates_take_few_steps(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    step = _ActiveSet._step
    monkeypatch.setattr(_ActiveSet, "_step", lambda search, new: moved.append(new) or step(search, new))
    random = np.random.default_rng(seed)
    size = int(random.integers(2, 11))
    row = random.exponential(size=size) * 10.0 ** random.uniform(0, 4, size)
    rows = np.array([row, 2.0 * row, row * (np.arange(size) >= size // 2), random.exponential(size=size)])
    bounds = np.array([1.0, 2.0, random.choice([0.0, 1e-3, 1.0]), 0.0])
    point = random.normal(size=size) + 1.0
    nearest, prices = project(point, rows, bounds, random.exponential(size=4))
    assert len(moved) <= most_steps(size, 4) + size + 4
    assert ((rows @ nearest - bounds) / np.linalg.norm(rows, axis=1)).max() <= 1e-6
    np.testing.assert_allclose(nearest, np.maximum(point - rows.T @ prices, 0.0), atol=1e-6)


def test_keeps_a_point_that_is_allowed() -> None:
    nearest, prices = project(np.array([0.2, 0.3]), np.array([[1.0, 1.0]]), np.array([1.0]))
    np.testing.assert_allclose(nearest, [0.2, 0.3])
    np.testing.assert_array_equal(prices, [0.0])


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(IsacError, match="not finite"):
        project(np.array([np.nan]), np.array([[1.0]]), np.array([1.0]))
