"""Information in bits."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import mutual_information as mi
from fairlead_isac.physics.channel import gaussian, rayleigh


def test_a_channels_information_is_that_of_its_modes() -> None:
    channel = rayleigh(4, 6, np.random.default_rng(1))
    modes = np.linalg.svd(channel, compute_uv=False) ** 2
    bits = mi.gaussian_bits(channel, 0.3 * np.eye(6), 0.1)
    assert bits == pytest.approx(np.log2(1 + 3 * modes).sum())
    assert mi.gaussian_bits(np.ones((1, 1)), 3 * np.eye(1), 1.0) == pytest.approx(2)


def test_sensing_information_is_the_entropy_that_an_estimate_removes() -> None:
    rng, trials = np.random.default_rng(2), 20_000
    power, variance, noise = rng.uniform(0, 2, (5, 3)), rng.uniform(0.5, 2, 5), 0.4
    truth = gaussian((trials, 5), rng) * np.sqrt(variance)
    seen = truth[..., None] * np.sqrt(power) + gaussian((trials, 5, 3), rng, noise)
    gain = variance[:, None] * np.sqrt(power) / (noise + variance * power.sum(axis=1))[:, None]
    left = np.mean(np.abs(truth - (gain * seen).sum(axis=2)) ** 2, axis=0)
    assert left.sum() == pytest.approx(mi.sensing_error(power, variance, noise), rel=0.02)
    assert np.log2(variance / left).sum() == pytest.approx(mi.sensing_bits(power, variance, noise), rel=0.02)


def test_bad_power_and_noise_are_refused() -> None:
    with pytest.raises(IsacError, match="noise_watts = 0"):
        mi.gaussian_bits(np.eye(2), np.eye(2), 0)
    with pytest.raises(IsacError, match="power_watts"):
        mi.sensing_bits([-1.0], 1.0, 1.0)
