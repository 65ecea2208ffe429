"""Echoes on the grid and as samples tell of the same targets."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import echo as echoes
from fairlead_isac.physics.arrays import steering
from fairlead_isac.physics.echo import Reflector
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.physics.waveform import prefix_samples, random_grid, sample_rate_hz, to_grid, to_samples

GRID = Numerology.new_radio(28e9, 3, 10, 28)


def sent() -> np.ndarray:
    return random_grid(GRID, 16, np.random.default_rng(1))


@pytest.mark.parametrize("samples_late", [0.0, 0.31, 4.0, 7.77])
def test_samples_give_the_grids_echo_for_delays_within_the_prefix(samples_late: float) -> None:
    target = Reflector(samples_late / sample_rate_hz(GRID), 0.0, 0.6 - 0.8j)
    received = to_grid(echoes.echo_samples(sent(), [target], GRID), GRID)
    assert received == pytest.approx(echoes.echo(sent(), [target], GRID), abs=1e-9)


def test_a_doppler_shift_turns_symbols_and_leaks_a_little() -> None:
    target = Reflector.at(20.0, 30.0, GRID)
    grid, samples = echoes.echo(sent(), [target], GRID), to_grid(echoes.echo_samples(sent(), [target], GRID), GRID)
    share = target.doppler_hz / GRID.subcarrier_spacing_hz
    leaked = np.linalg.norm(samples - grid) / np.linalg.norm(grid)
    assert 0.3 * share < leaked < np.pi / np.sqrt(3) * share * 1.1  # Russell and Stuber 1995: (pi eps)^2 / 3


def test_an_echo_beyond_the_prefix_leaks_into_the_next_symbol() -> None:
    late = Reflector((prefix_samples(GRID) + 60) / sample_rate_hz(GRID))
    received = to_grid(echoes.echo_samples(sent(), [late], GRID), GRID)
    assert np.linalg.norm(received - echoes.echo(sent(), [late], GRID)) > 0.5 * np.linalg.norm(received)
    beyond = Reflector(2 * GRID.frame_s)
    assert not echoes.echo_samples(sent(), [beyond], GRID).any()


def test_a_whole_delay_is_a_shift() -> None:
    received = echoes.echo_samples(sent(), [Reflector(5 / sample_rate_hz(GRID))], GRID)
    assert received[5:] == pytest.approx(to_samples(sent(), GRID)[:-5])
    assert not received[:5].any()


@pytest.mark.parametrize("delay", [-1e-9, np.nan, np.inf])
def test_an_echo_before_the_signal_is_refused(delay: float) -> None:
    with pytest.raises(IsacError, match=r"reflector\.delay_s = "):
        echoes.echo_samples(sent(), [Reflector(delay)], GRID)


def test_range_and_velocity_become_delay_and_shift() -> None:
    target = Reflector.at(149.896229, 10.0, GRID)
    assert target.delay_s == pytest.approx(1e-6)
    assert target.doppler_hz == pytest.approx(2 * 10 * 28e9 / 299792458)


def test_noise_has_its_power() -> None:
    rng = np.random.default_rng(2)
    assert np.mean(np.abs(echoes.echo(sent(), [], GRID, rng, 0.3)) ** 2) == pytest.approx(0.3, rel=0.1)
    assert np.mean(np.abs(echoes.echo_samples(sent(), [], GRID, rng, 0.3)) ** 2) == pytest.approx(0.3, rel=0.1)


def test_clutter_has_its_power_and_fades_with_range() -> None:
    rng = np.random.default_rng(3)
    draws = [echoes.clutter(GRID, rng, 2.0, 300, 10, 80) for _ in range(60)]
    powers = [sum(abs(each.amplitude) ** 2 for each in patches) for patches in draws]
    assert np.mean(powers) == pytest.approx(2.0, rel=0.1)
    near = [abs(e.amplitude) ** 2 for patches in draws for e in patches if e.delay_s < 2 * 20 / 299792458]
    far = [abs(e.amplitude) ** 2 for patches in draws for e in patches if e.delay_s > 2 * 60 / 299792458]
    assert 30 < np.mean(near) / np.mean(far) < 200
    assert all(each.doppler_hz == 0 for each in draws[0])


def test_an_array_sees_targets_where_they_are() -> None:
    rng = np.random.default_rng(4)
    x = np.sqrt(0.5) * (rng.standard_normal((6, 50)) + 1j * rng.standard_normal((6, 50)))
    received = echoes.array_echo(x, [0.1, -0.5], [1.0, 2j], 8)
    by_hand = sum(
        alpha * np.outer(steering(angle, 8), steering(angle, 6).conj() @ x) for angle, alpha in ((0.1, 1), (-0.5, 2j))
    )
    assert received == pytest.approx(by_hand)


def test_swerling_amplitudes() -> None:
    rng = np.random.default_rng(5)
    assert abs(echoes.swerling_amplitude(4.0, 0, rng)) == pytest.approx(2.0)
    powers = [abs(echoes.swerling_amplitude(4.0, 1, rng)) ** 2 for _ in range(4000)]
    assert np.mean(powers) == pytest.approx(4, rel=0.1)
    assert np.mean(np.array(powers) > 8) == pytest.approx(np.exp(-2), abs=0.02)
