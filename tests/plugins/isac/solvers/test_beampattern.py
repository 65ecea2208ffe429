"""Shaped patterns: every antenna's power, the program's error, and a main lobe where it was wanted."""

from __future__ import annotations

import numpy as np
import pytest

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


def test_a_stopped_pattern_keeps_every_antennas_power() -> None:
    wanted = (np.abs(ANGLES - 0.4) < 0.1).astype(float)
    found = shape_beampattern(wanted, VECTORS, 6.0, most_iterations=1)
    assert found.fallback == "stopped after 1 iterations: the pattern was still moving"
    assert np.allclose(found.covariance.diagonal(), 1.0)


def test_patterns_that_cannot_be_are_refused() -> None:
    with pytest.raises(IsacError, match="desired: must have a weighted angle above 0"):
        shape_beampattern(np.zeros(31), VECTORS, 1.0)
    with pytest.raises(IsacError, match=r"desired: must have the shape \[31\], got \[30\]"):
        shape_beampattern(np.ones(30), VECTORS, 1.0)
