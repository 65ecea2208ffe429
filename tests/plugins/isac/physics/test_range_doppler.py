"""Maps show targets where they are, as strong as they are."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import range_doppler as rd
from fairlead_isac.physics.channel import gaussian
from fairlead_isac.physics.echo import Reflector, echo
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.physics.waveform import random_grid

GRID = Numerology.new_radio(28e9, 3, 8, 64)
SENT = random_grid(GRID, 4, np.random.default_rng(1))


def peak(mapped: rd.RangeDopplerMap) -> tuple[float, float, float]:
    row, column = np.unravel_index(mapped.power.argmax(), mapped.power.shape)
    return mapped.ranges_m[row], mapped.velocities_m_per_s[column], mapped.power[row, column]


@pytest.mark.parametrize("equalizer", ["divide", "match"])
@pytest.mark.parametrize("velocity", [-21.0, 14.0])
def test_a_target_lies_in_its_cell(velocity: float, equalizer: rd.Equalizer) -> None:
    processing = rd.Processing(("hann", "hamming"), (2, 4), equalizer)
    received = echo(SENT, [Reflector.at(87.0, velocity, GRID)], GRID)
    where, speed, _ = peak(rd.range_doppler_map(received, SENT, GRID, processing))
    assert where == pytest.approx(87.0, abs=GRID.range_resolution_m / 4 + 1e-9)
    assert speed == pytest.approx(velocity, abs=GRID.velocity_resolution_m_per_s / 8 + 1e-9)


@pytest.mark.parametrize("name", rd.WINDOWS)
def test_the_peak_is_the_integrated_snr_less_the_windows_losses(name: rd.Window) -> None:
    cell = Reflector.at(20 * GRID.range_resolution_m, 5 * GRID.velocity_resolution_m_per_s, GRID, 0.2j)
    processing = rd.Processing((name, name))
    top = peak(rd.range_doppler_map(echo(SENT, [cell], GRID), SENT, GRID, processing))[2]
    lost = rd.window_loss_db(name, GRID.subcarriers) + rd.window_loss_db(name, GRID.symbols)
    assert 10 * np.log10(0.04 * GRID.subcarriers * GRID.symbols / top) == pytest.approx(lost, abs=1e-6)
    noise = gaussian(SENT.shape, np.random.default_rng(2), 0.5)
    floor = rd.transformed(noise, processing)
    assert np.mean(np.abs(floor) ** 2) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("name", "below"), [("rectangular", 13.2), ("hann", 31), ("hamming", 40), ("blackman", 57), ("taylor", 34)]
)
def test_windows_hold_side_lobes_down(name: str, below: float) -> None:
    spectrum = np.abs(np.fft.fft(rd.window(name, 128), 8192))[:4096] ** 2
    first_null = np.flatnonzero(np.diff(spectrum) > 0)[0]
    assert 10 * np.log10(spectrum[0] / spectrum[first_null:].max()) >= below


@pytest.mark.parametrize("how", ["mean", "canceller"])
def test_only_moving_targets_stay(how: rd.Indicator) -> None:
    still, moving = Reflector.at(40.0, 0.0, GRID, 100.0), Reflector.at(70.0, 25.0, GRID, 0.1)
    received = echo(SENT, [still, moving], GRID)
    seen = peak(rd.range_doppler_map(received, SENT, GRID, rd.Processing(moving_targets=how)))
    assert seen[0] == pytest.approx(70.0, abs=GRID.range_resolution_m)
    assert peak(rd.range_doppler_map(received, SENT, GRID))[0] == pytest.approx(40.0, abs=GRID.range_resolution_m)


def test_elements_that_nothing_was_sent_on_tell_nothing() -> None:
    sent = SENT * (np.arange(GRID.subcarriers) % 3 > 0)[:, None]
    received = echo(sent, [Reflector.at(30.0, 0, GRID)], GRID) + (sent == 0) * 1e3
    assert not rd.equalized(received, sent, GRID)[sent == 0].any()


@pytest.mark.parametrize(
    ("field", "value"),
    [("windows", ("flat", "hann")), ("padding", (0, 1)), ("equalizer", "guess"), ("moving_targets", "yes")],
)
def test_a_bad_word_is_refused(field: str, value: object) -> None:
    with pytest.raises(IsacError, match=f"processing.{field} = "):
        rd.Processing(**{field: value})  # type: ignore[arg-type]


def test_a_grid_of_another_shape_is_refused() -> None:
    with pytest.raises(IsacError, match=r"received of shape \(96, 63\); accepted: \[96, 64\]"):
        rd.range_doppler_map(SENT[:, 1:], SENT, GRID)
