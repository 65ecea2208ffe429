"""Receivers in full duplex: residual models, MVDR closed forms, rates of users that send."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.duplex.receiving import disturbance, echo_snr_per_watt, mvdr, uplink_sinr
from fairlead_isac.physics.arrays import steering
from fairlead_isac.physics.channel import rayleigh


def few_directions(antennas: int, rank: int, rng: np.random.Generator) -> np.ndarray:
    found = rayleigh(rank, antennas, rng).T
    return found / np.linalg.norm(found)


def test_white_residual_costs_all_receivers_and_few_directions_are_nulled() -> None:
    rng = np.random.default_rng(1)
    heard, sent = rayleigh(4, 16, rng), np.full(4, 10.0)
    quiet = uplink_sinr(heard, sent, disturbance(16, 1.0, 1.0, None))
    white = uplink_sinr(heard, sent, disturbance(16, 1.0, 1000.0, 0.0))
    narrow = uplink_sinr(heard, sent, disturbance(16, 1.0, 1000.0, 0.0, few_directions(16, 4, rng)))
    assert (white < quiet / 100).all()
    # 4 of 16 dimensions are lost, which leaves 9 of 13 to each of 4 users.
    assert (narrow > 0.3 * quiet).all() and (narrow < quiet).all()


def test_both_residuals_have_the_same_power() -> None:
    residual = few_directions(8, 3, np.random.default_rng(2))
    powers = [np.trace(disturbance(8, 1.0, 100.0, 10.0, model)).real for model in (None, residual)]
    assert powers[0] == pytest.approx(powers[1]) == pytest.approx(8 * (1 + 10))


def test_mvdr_is_distortionless_and_no_other_receiver_is_quieter() -> None:
    rng = np.random.default_rng(3)
    parts = rayleigh(6, 6, rng)
    covariance, towards = parts.T @ parts.conj() + np.eye(6), steering(0.3, 6)
    receiver = mvdr(covariance, towards)
    assert receiver.conj() @ towards == pytest.approx(1)
    output = (receiver.conj() @ covariance @ receiver).real
    for _ in range(50):
        other = receiver + 0.1 * rayleigh(1, 6, rng)[0]
        other = other / np.conj(other.conj() @ towards)
        assert (other.conj() @ covariance @ other).real >= output * (1 - 1e-9)
    # What it makes of an echo is b^H C^-1 b.
    snr = echo_snr_per_watt(towards[None], 1.0, 0.0, None, None, parts.conj()[:0], np.zeros(0))
    assert snr == pytest.approx([6.0])


def test_uplink_sinr_is_that_of_each_users_own_receiver() -> None:
    rng = np.random.default_rng(4)
    heard, sent = rayleigh(3, 5, rng), np.array([1.0, 4.0, 0.5])
    noise = disturbance(5, 0.3, 1.0, 3.0)
    got = uplink_sinr(heard, sent, noise)
    for at in range(3):
        others = noise + sum(sent[each] * np.outer(heard[each], heard[each].conj()) for each in range(3) if each != at)
        receiver = mvdr(others, heard[at])
        assert got[at] == pytest.approx(sent[at] / (receiver.conj() @ others @ receiver).real)
