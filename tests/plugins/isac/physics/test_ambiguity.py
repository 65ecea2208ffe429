"""Side lobes of grids and waveforms."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import ambiguity
from fairlead_isac.physics.echo import Reflector, echo
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.physics.range_doppler import Processing, range_doppler_map


def test_an_even_grid_spreads_as_the_closed_form() -> None:
    spread = ambiguity.point_spread(np.ones((32, 20)), (4, 2))
    assert spread[:, 0] == pytest.approx(ambiguity.dirichlet(32, np.arange(128) / 128), abs=1e-12)
    assert spread[0] == pytest.approx(ambiguity.dirichlet(20, np.arange(40) / 40), abs=1e-12)
    lobes = ambiguity.side_lobes(ambiguity.point_spread(np.ones((64, 1)), (16, 1))[:, 0])
    assert lobes.pslr_db == pytest.approx(13.26, abs=0.05)
    assert lobes.islr_db == pytest.approx(10 * np.log10(1 / 0.9028 - 1), abs=0.05)  # 90.28 % lie in the main lobe


def test_a_spread_is_what_the_map_shows_of_a_point() -> None:
    grid = Numerology.new_radio(28e9, 3, 2, 16)
    rng = np.random.default_rng(1)
    sent = np.sqrt(rng.exponential(1, (24, 16)))
    processing = Processing(padding=(2, 2), equalizer="match")
    mapped = range_doppler_map(echo(sent, [Reflector(0.0)], grid), sent, grid, processing)
    shown = np.fft.ifftshift(mapped.power, axes=1)
    assert shown / shown.max() == pytest.approx(ambiguity.point_spread(sent**2, (2, 2)), abs=1e-12)


def test_a_comb_repeats_the_peak_and_a_gap_raises_side_lobes() -> None:
    comb = np.zeros((48, 4))
    comb[::4] = 1
    assert ambiguity.side_lobes(ambiguity.point_spread(comb)).pslr_db == pytest.approx(0, abs=1e-9)
    gap = np.ones((48, 4))
    gap[12:36] = 0
    assert ambiguity.side_lobes(ambiguity.point_spread(gap)[:, 0]).pslr_db < 8


def test_a_chirp_has_its_ridge_and_a_code_its_side_lobes() -> None:
    barker = np.array([1, 1, 1, 1, 1, -1, -1, 1, 1, -1, 1, -1, 1.0])
    surface = ambiguity.ambiguity_function(barker, 12)
    still = surface[:, 13 // 2]
    assert still[12] == pytest.approx(1)
    assert np.delete(still, 12).max() == pytest.approx(1 / 169)
    time = np.arange(64)
    chirp = np.exp(1j * np.pi * 0.5 * time**2 / 64)
    ridge = ambiguity.ambiguity_function(chirp, 8, 4)
    shifts = np.fft.fftshift(np.fft.fftfreq(256))
    assert shifts[ridge.argmax(axis=1)] == pytest.approx(0.5 * np.arange(-8, 9) / 64, abs=1 / 256)


def test_symmetry_and_volume_are_woodwards() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal(33) + 1j * rng.standard_normal(33)
    surface = ambiguity.ambiguity_function(x, 32, 1)
    assert surface == pytest.approx(surface[::-1, ::-1])
    assert surface.sum() / 33 == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ambiguity.point_spread(np.zeros((3, 3))), "power of shape"),
        (lambda: ambiguity.point_spread(np.full((3, 3), np.nan)), "power of shape"),
        (lambda: ambiguity.ambiguity_function(np.ones(4), 4), "lags = 4; accepted: 0 to 3"),
        (lambda: ambiguity.side_lobes(np.zeros(5)), "surface of shape"),
    ],
)
def test_what_has_no_peak_is_refused(call: object, match: str) -> None:
    with pytest.raises(IsacError, match=match):
        call()  # type: ignore[operator]
