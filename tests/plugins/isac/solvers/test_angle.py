"""The sharpest angle: requirements kept, the gap certified and true, against the program and what beams can do."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers import angle_information, illuminate, sharpen
from fairlead_isac.solvers.reference import angle_reference
from tests.plugins.isac.solvers.channels import Complex, Floats, rayleigh

POWER, ANTENNAS = 50.0, 6
PLACES = np.arange(ANTENNAS) - (ANTENNAS - 1) / 2


def towards(sine: float) -> tuple[Complex, Complex, float]:
    """A centred array's steering vector, its derivative by the angle, and the spread of an equal receiver."""
    a = np.exp(1j * np.pi * PLACES * sine)
    d = 1j * np.pi * PLACES * np.sqrt(1 - sine**2) * a
    return a, d, float((np.abs(d) ** 2).sum() / ANTENNAS)


def heard(channels: Complex, beams: Complex, covariance: Complex) -> Floats:
    """SINR of users while the sensing stream disturbs, too."""
    own = np.abs((channels.conj() * beams).sum(1)) ** 2
    return own / (np.einsum("ki,ij,kj->k", channels.conj(), covariance, channels).real - own + 1)


@pytest.mark.parametrize("spread_share", [1.0, 0.0])
def test_the_sharpest_angle_is_the_programs_optimum(spread_share: float) -> None:
    pytest.importorskip("cvxpy")
    h, asked = rayleigh(np.random.default_rng(0), 2, ANTENNAS), [6.0, 3.0]
    a, d, spread = towards(0.3)
    found = sharpen(h, a, d, spread_share * spread, asked, POWER, 1.0)
    assert found.fallback is None and found.gap < 1e-5
    assert np.isclose(np.trace(found.covariance).real, POWER)
    assert np.linalg.eigvalsh(found.sensing_covariance).min() > -1e-9 * POWER
    assert (heard(h, found.beamformers, found.covariance) >= np.array(asked) * (1 - 1e-7)).all()
    program = angle_reference(h, a, d, spread_share * spread, asked, POWER, 1.0)
    assert np.isclose(found.information, program.value, rtol=1e-4)


def test_it_is_sharper_than_the_most_illumination() -> None:
    rng = np.random.default_rng(1)
    a, d, spread = towards(-0.5)
    for _ in range(3):
        h = rayleigh(rng, 3, ANTENNAS)
        asked = [10.0, 4.0, 8.0]
        lit = angle_information(illuminate(h, a, asked, POWER, 1.0).covariance, a, d, spread)
        assert sharpen(h, a, d, spread, asked, POWER, 1.0).information >= lit * (1 - 1e-6)


def test_without_requirements_the_bound_is_known() -> None:
    """Of equal arrays no R has more than ``P |a'|^2``: along a and along a' alike."""
    a, d, spread = towards(0.1)
    for users in (0, 2):
        h = rayleigh(np.random.default_rng(2), users, ANTENNAS)
        found = sharpen(h, a, d, spread, [0.0] * users, POWER, 1.0)
        assert found.beamformers.shape == (users, ANTENNAS) and not found.beamformers.any()
        assert np.isclose(found.information, POWER * (np.abs(d) ** 2).sum(), rtol=1e-5)


def test_hard_questions_have_an_answer() -> None:
    h = rayleigh(np.random.default_rng(3), 3, ANTENNAS)
    a, d, spread = towards(0.3)
    refused = sharpen(h, a, d, spread, [1e4] * 3, POWER, 1.0)
    assert refused.fallback is not None and refused.fallback.startswith("infeasible: ") and refused.gap == np.inf
    assert np.isclose(np.trace(refused.covariance).real, POWER)
    stopped = sharpen(h, a, d, spread, [2.0] * 3, POWER, 1.0, most_iterations=2)
    assert stopped.fallback == "stopped after 2 iterations"
    assert (heard(h, stopped.beamformers, stopped.covariance) >= 2 * (1 - 1e-7)).all()
    late = sharpen(h, a, d, spread, [2.0] * 3, POWER, 1.0, most_iterations=22)
    assert late.fallback is not None and "all SINR are met" in late.fallback and late.gap < 0.5
    assert (heard(h, late.beamformers, late.covariance) >= 2 * (1 - 1e-7)).all()
    h[1] = h[0]
    twins = sharpen(h, a, d, spread, [0.5, 0.5, 2.0], POWER, 1.0)
    assert twins.fallback is None and (heard(h, twins.beamformers, twins.covariance) >= 0.5 * (1 - 1e-7)).all()
    with pytest.raises(IsacError, match="vectors that are not zero"):
        sharpen(h, 0 * a, d, spread, [1.0] * 3, POWER, 1.0)
    with pytest.raises(IsacError, match=r"derivative: must have the shape \[6\], got \[5\]"):
        sharpen(h, a, d[:5], spread, [1.0] * 3, POWER, 1.0)
