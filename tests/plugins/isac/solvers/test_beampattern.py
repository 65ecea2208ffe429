"""Shaped patterns: every antenna's power, the program's error, and a main lobe where it was wanted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers import shape_beampattern
from fairlead_isac.solvers.reference import pattern_reference

ANGLES = np.deg2rad(np.arange(-90, 91, 6.0))
VECTORS = np.exp(1j * np.pi * np.sin(ANGLES)[:, None] * np.arange(6))


@pytest.mark.parametrize("centres", [(0.0,), (-0.6, 0.5)])
def test_the_pattern_is_the_programs_optimum(centres: tuple[float, ...]) -> None:
    pytest.importorskip("cvxpy")
    wanted = np.any([np.abs(ANGLES - centre) < 0.15 for centre in centres], axis=0).astype(float)
    found = shape_beampattern(wanted, VECTORS, 12.0)
    assert found.fallback is None
    assert np.allclose(found.covariance.diagonal(), 2.0)
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-9
    assert np.isclose(found.error, pattern_reference(wanted, VECTORS, 12.0).value, rtol=1e-4)
    lit = np.einsum("li,ij,lj->l", VECTORS.conj(), found.covariance, VECTORS).real
    assert lit[wanted > 0].min() > 1.5 * lit[wanted == 0].mean()
    assert np.isclose(found.error, ((found.level * wanted - lit) ** 2).sum() / 144)


@settings(max_examples=4, derandomize=True, deadline=None)
@given(st.integers(2, 5), st.integers(0, 1000), st.booleans())
def test_any_pattern_of_any_array_is_the_programs_optimum(antennas: int, seed: int, even: bool) -> None:
    """Random wanted powers and weights; antennas in an even line, or anywhere in a plane."""
    pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    places = np.arange(antennas) * 0.5 * np.array([[0], [1]]) if even else rng.uniform(0, 2, (2, antennas))
    phases = 2 * np.pi * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1) @ places
    vectors, wanted, weight = np.exp(1j * phases), rng.uniform(0, 1, 31) ** 3, rng.uniform(0.1, 1, 31)
    found = shape_beampattern(wanted, vectors, 1.0, weight)
    least = pattern_reference(wanted, vectors, 1.0, weight).value
    assert found.fallback is None and np.allclose(found.covariance.diagonal(), 1 / antennas)
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-9
    assert found.error == pytest.approx(least, rel=1e-4)
    assert found.error - found.gap <= least * (1 + 1e-6), "the dual's bound is below the optimum"


@pytest.mark.parametrize("antennas", [20, 32])
def test_large_arrays_take_few_steps_and_prove_it(antennas: int) -> None:
    angles = np.deg2rad(np.arange(-90, 91, 2.0))
    vectors = np.exp(1j * np.pi * np.sin(angles)[:, None] * np.arange(antennas))
    wanted = np.any([np.abs(angles - centre) < 0.15 for centre in (-0.6, 0.5)], axis=0).astype(float)
    found = shape_beampattern(wanted, vectors, 1.0)
    assert found.fallback is None and found.iterations < 100
    flat = shape_beampattern(wanted, vectors, 1.0, most_iterations=1)
    assert found.gap <= 1e-5 * max(found.error, 1e-4 * flat.error)


def test_equal_power_everywhere_is_had_at_once() -> None:
    found = shape_beampattern(np.ones(31), VECTORS, 1.0)
    assert found.iterations == 0 and found.fallback is None and found.error < 1e-12
    alone = shape_beampattern(np.ones(31), VECTORS[:, :1], 2.0)
    assert alone.covariance == pytest.approx(2.0) and alone.fallback is None


def test_a_stopped_pattern_keeps_every_antennas_power() -> None:
    wanted = (np.abs(ANGLES - 0.4) < 0.1).astype(float)
    found = shape_beampattern(wanted, VECTORS, 6.0, most_iterations=1)
    assert found.fallback is not None and found.fallback.startswith("stopped after 1 steps: the error may be ")
    assert np.allclose(found.covariance.diagonal(), 1.0)


def test_patterns_that_cannot_be_are_refused() -> None:
    with pytest.raises(IsacError, match="desired: must have a weighted angle above 0"):
        shape_beampattern(np.zeros(31), VECTORS, 1.0)
    with pytest.raises(IsacError, match=r"desired: must have the shape \[31\], got \[30\]"):
        shape_beampattern(np.ones(30), VECTORS, 1.0)
