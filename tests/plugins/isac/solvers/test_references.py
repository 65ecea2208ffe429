"""The fast solvers against the convex programs of CVXPY and Clarabel, on small questions."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from fairlead_isac.errors import IsacError, MissingExtra
from fairlead_isac.solvers import allocate, illuminate
from fairlead_isac.solvers.reference import (
    allocate_reference,
    illuminate_reference,
    pattern_reference,
    shared_reference,
)
from tests.plugins.isac.solvers.channels import rayleigh, sinr, steering

pytest.importorskip("cvxpy")
pytest.importorskip("clarabel")


@pytest.mark.parametrize("reduced", [False, True])
def test_illumination_is_the_programs_optimum(reduced: bool) -> None:
    h, a, asked = rayleigh(np.random.default_rng(0), 2, 5), steering(5), [8.0, 3.0]
    ours = illuminate(h, a, asked, 20.0, 1.0)
    program = illuminate_reference(h, a, asked, 20.0, 1.0, reduced=reduced)
    assert np.isclose(ours.illumination_watts, program.value, rtol=1e-5)
    covariance = program.arrays["parts"].sum(0)
    assert np.isclose((a.conj() @ covariance @ a).real, program.value, rtol=1e-5)
    assert np.allclose(covariance, ours.covariance, atol=2e-2 * 20.0)


def test_an_infeasible_program_says_so() -> None:
    h = rayleigh(np.random.default_rng(0), 3, 2)
    with pytest.raises(IsacError, match="the program: is infeasible"):
        illuminate_reference(h, steering(2), [10.0] * 3, 1.0, 1.0, reduced=True)


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_allocation_is_the_programs_optimum(share: float) -> None:
    rng = np.random.default_rng(1)
    gains, weights, sensing = rng.exponential(3.0, (3, 8)), rng.uniform(0.5, 2, 3), rng.uniform(0.5, 1, 8)
    asked = share * 8.0 * 49 / 4 * 0.5
    ours = allocate(gains, weights, 8.0, asked, None, sensing)
    program = allocate_reference(gains, weights, 8.0, asked, None, sensing)
    assert np.isclose(weights @ ours.rate_bits, program.value, rtol=1e-5)
    assert np.allclose(program.arrays["power"].sum(0), ours.power_of_block, atol=0.05)


def test_time_shared_blocks_are_the_programs_optimum() -> None:
    gains, weights = np.array([[30.0, 30.0], [1.0, 1.0]]), np.array([1.0, 1.8])
    ours = allocate(gains, weights, 150.0)
    program = allocate_reference(gains, weights, 150.0)
    assert ours.shared_blocks and np.isclose(weights @ ours.rate_bits, program.value, rtol=1e-5)


def test_shared_beams_keep_every_sinr_and_antenna_power() -> None:
    angles = np.deg2rad(np.arange(-90, 91, 6.0))
    vectors = np.exp(1j * np.pi * np.sin(angles)[:, None] * np.arange(4))
    radar = pattern_reference(np.abs(angles) < 0.3, vectors, 10.0).arrays["covariance"]
    assert np.allclose(radar.diagonal().real, 10.0 / 4, rtol=1e-4)
    h = rayleigh(np.random.default_rng(2), 2, 4)
    found = shared_reference(radar, h, [2.0, 2.0], 1.0).arrays
    assert np.allclose(found["covariance"].diagonal().real, 10.0 / 4, rtol=1e-4)
    covariance, beams = found["covariance"], found["beamformers"]
    heard = np.abs((h.conj() * beams).sum(1)) ** 2
    everything = np.einsum("ki,ij,kj->k", h.conj(), covariance, h).real
    assert (heard / (everything - heard + 1) >= 2 * (1 - 1e-4)).all()
    assert (sinr(h, beams, 1.0) >= 2 * (1 - 1e-4)).all()


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "cvxpy":
            raise ImportError("No module named 'cvxpy'", name="cvxpy")
        return there(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"cvxpy: is not installed; pip install 'fairlead-isac\[reference\]'"):
        allocate_reference(np.ones((1, 2)), [1.0], 1.0)
