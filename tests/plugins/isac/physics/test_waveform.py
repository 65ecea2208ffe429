"""Symbols and samples go out and come back."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import waveform
from fairlead_isac.physics.channel import gaussian
from fairlead_isac.physics.numerology import Numerology

GRID = Numerology.new_radio(3.5e9, 1, 10, 7)


@pytest.mark.parametrize("order", waveform.ORDERS)
def test_qam_has_unit_power_and_neighbours_differ_in_one_bit(order: int) -> None:
    points = waveform.constellation(order)
    assert np.mean(np.abs(points) ** 2) == pytest.approx(1)
    distance = np.abs(points[:, None] - points)
    nearest = distance[distance > 0].min()
    for one, other in np.argwhere(np.isclose(distance, nearest)):
        assert int(one ^ other).bit_count() == 1


@pytest.mark.parametrize("order", [4, 64, 1024])
def test_bits_come_back_through_the_waveform(order: int) -> None:
    rng = np.random.default_rng(order)
    bits = rng.integers(0, 2, GRID.subcarriers * GRID.symbols * waveform.bits_of(order))
    sent = waveform.modulate(bits, order).reshape(GRID.subcarriers, GRID.symbols)
    samples = waveform.to_samples(sent, GRID)
    samples = samples + gaussian(samples.shape, rng, 1e-5)
    assert (waveform.demodulate(waveform.to_grid(samples, GRID).ravel(), order) == bits).all()


def test_noise_breaks_as_many_bits_as_theory_says() -> None:
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2, 200_000)
    symbols = waveform.modulate(bits, 4)
    wrong = (waveform.demodulate(symbols + gaussian(symbols.shape, rng, 0.25), 4) != bits).mean()
    assert wrong == pytest.approx(0.02275, rel=0.05)  # Q(2)


def test_samples_have_the_grids_power_and_a_cyclic_prefix() -> None:
    sent = waveform.random_grid(GRID, 16, np.random.default_rng(1))
    size, prefix = waveform.sampled_size(GRID), waveform.prefix_samples(GRID)
    assert (size, prefix) == (128, 9)
    symbols = waveform.to_samples(sent, GRID).reshape(GRID.symbols, size + prefix)
    assert np.sum(np.abs(symbols[:, prefix:]) ** 2) == pytest.approx(np.sum(np.abs(sent) ** 2))
    assert symbols[:, :prefix] == pytest.approx(symbols[:, size:])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: waveform.constellation(8), "order = 8"),
        (lambda: waveform.modulate([0, 1, 0], 4), "accepted: 0 and 1, a multiple of 2"),
        (lambda: waveform.modulate([0, 2], 4), "accepted: 0 and 1"),
        (lambda: waveform.to_samples(np.ones((3, 4)), GRID), r"grid of shape \(3, 4\); accepted: \[120, 7\]"),
        (lambda: waveform.to_grid(np.ones(100), GRID), "accepted: \\[959\\]"),
        (lambda: waveform.sampled_size(Numerology(1e9, 30e3, 100, 1, 1.23456e-6)), "cyclic_prefix_s = 1.23456e-06"),
    ],
)
def test_bad_input_is_refused_by_name(call: object, match: str) -> None:
    with pytest.raises(IsacError, match=match):
        call()  # type: ignore[operator]
