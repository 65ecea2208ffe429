"""Beams: NumPy and native decide the same, both keep what they promise, whatever the channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import radio
from tests.plugins.kernels.cases import each_backend, examples, needs_native

Question = tuple[radio.Complex, radio.Complex, radio.Floats, float, float]


def question(seed: int, users: int, antennas: int, level: float, degenerate: str) -> Question:
    """Rayleigh channels and asked SINR around ``level`` dB, some of them special."""
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((users, antennas)) + 1j * rng.standard_normal((users, antennas))
    a = np.exp(1j * np.pi * np.arange(antennas) * rng.uniform(-1, 1))
    sinr = 10 ** ((level + rng.uniform(-3, 3, users)) / 10)
    if degenerate == "identical" and users > 1:
        h[1] = h[0]
    if degenerate == "silent":
        h[0] = 0
    if degenerate == "orthogonal":
        h -= np.outer(h @ a.conj(), a) / antennas
    if degenerate == "along":
        h[0] = 2 * a
    if degenerate == "unasked":
        sinr[0] = 0
    return h, a, sinr, 10 ** rng.uniform(-1, 3), 10 ** rng.uniform(-1, 1)


def reached(beams: radio.Beams, h: radio.Complex, noise: float) -> radio.Floats:
    power = np.abs(h.conj() @ beams.beamformers.T) ** 2
    own = power.diagonal()
    return own / (power.sum(1) - own + noise)


@needs_native
@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    users=st.integers(1, 6),
    antennas=st.integers(1, 12),
    level=st.floats(-10, 25),
    degenerate=st.sampled_from(["", "", "identical", "silent", "orthogonal", "along", "unasked"]),
)
def test_native_and_numpy_decide_the_same(seed: int, users: int, antennas: int, level: float, degenerate: str) -> None:
    h, a, sinr, power, noise = question(seed, users, antennas, level, degenerate)
    fk.select("native")
    found = radio.illuminate(h, a, sinr, power, noise)
    fk.select("numpy")
    expected = radio.illuminate(h, a, sinr, power, noise)
    assert found.status == expected.status
    assert np.isclose(found.illumination, expected.illumination, rtol=1e-5, atol=1e-9 * power)
    assert np.isclose(found.reached, expected.reached, rtol=1e-5)
    covariance = found.beamformers.T @ found.beamformers.conj() + np.outer(found.sensing, found.sensing.conj())
    assert np.isclose(np.trace(covariance).real, power)
    assert np.isclose((a.conj() @ covariance @ a).real, found.illumination, atol=1e-9 * power)
    heard = (sinr > 0) & h.any(1)
    if found.status == radio.SOLVED:
        assert (reached(found, h, noise)[heard] >= sinr[heard] * (1 - 1e-7)).all()
        assert found.bound - found.illumination <= 2e-6 * found.bound
    elif heard.all():
        assert (reached(found, h, noise) >= sinr * found.reached * (1 - 1e-6)).all()


@each_backend
def test_numbers_that_are_not_accepted(choice: str) -> None:
    fk.select(choice)
    h, a, sinr, power, noise = question(0, 2, 4, 0.0, "")
    h[1, 2] = complex(0, np.inf)
    with pytest.raises(radio.RadioError, match=r"channels\[1, 2\]: is .*inf.*; accepted: finite numbers"):
        radio.illuminate(h, a, sinr, power, noise)
    sinr[1] = -1
    with pytest.raises(radio.RadioError, match=r"sinr\[1\]: is -1"):
        radio.illuminate(np.ones((2, 4)), a, sinr, power, noise)


@each_backend
def test_few_iterations_leave_beams_that_keep_every_sinr(choice: str) -> None:
    fk.select(choice)
    h, a, sinr, _, _ = question(1, 4, 16, 10.0, "")
    for most in (8, 15, 25, 400):
        found = radio.illuminate(h, a, sinr, 100.0, 1.0, most_iterations=most)
        assert (reached(found, h, 1.0) >= sinr * found.reached * (1 - 1e-7)).all() and found.reached > 0.5
    assert found.status == radio.SOLVED
