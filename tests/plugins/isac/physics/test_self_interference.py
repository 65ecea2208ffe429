"""What is left of the own signal: as strong as said, and nulled or not by the receiver."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import self_interference as si
from fairlead_isac.physics.channel import rayleigh


def test_the_white_residual_has_the_power_left_by_the_canceller() -> None:
    assert si.residual_watts(1.0, 90.0) == pytest.approx(1e-9)
    drawn = si.white_residual((16, 4000), 1.0, 90.0, np.random.default_rng(1))
    covariance = drawn @ drawn.conj().T / 4000
    assert covariance / 1e-9 == pytest.approx(si.white_covariance(16, 1.0, 90.0) / 1e-9, abs=0.1)


def test_a_low_rank_residual_is_as_strong_but_leaves_directions_free() -> None:
    channel = si.low_rank_channel(16, 12, 4, 90.0, np.random.default_rng(2))
    covariance = si.residual_covariance(channel, np.eye(12) / 12)
    assert np.trace(covariance).real / 16 == pytest.approx(1e-9)
    values = np.linalg.eigvalsh(covariance)
    assert (values[:12] < 1e-12 * values[-1]).all() and values[12] > 1e-4 * values[-1]


def test_an_mmse_receiver_nulls_the_low_rank_residual_and_not_the_white_one() -> None:
    rng, noise = np.random.default_rng(3), 1e-12
    wanted = rayleigh(1, 16, rng)[0]
    clean = si.mmse_sinr(wanted, 1e-9, noise * np.eye(16))
    assert clean == pytest.approx(1e3 * np.sum(np.abs(wanted) ** 2))
    white = si.mmse_sinr(wanted, 1e-9, noise * np.eye(16) + si.white_covariance(16, 1.0, 90.0))
    low = si.residual_covariance(si.low_rank_channel(16, 16, 4, 90.0, rng), np.eye(16) / 16)
    nulled = si.mmse_sinr(wanted, 1e-9, noise * np.eye(16) + low)
    assert white < clean / 500
    assert clean / 3 < nulled < clean


def test_an_impossible_rank_is_refused() -> None:
    with pytest.raises(IsacError, match="rank = 9; accepted: 1 to 8"):
        si.low_rank_channel(16, 8, 9, 90.0, np.random.default_rng(0))
