"""The bounds against the numerically differentiated model."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import crb
from fairlead_isac.physics.arrays import steering
from fairlead_isac.physics.channel import gaussian
from fairlead_isac.physics.echo import Reflector, response
from fairlead_isac.physics.numerology import Numerology

from .fisher import bounds

GRID = Numerology(28e9, 120e3, 24, 14, 0.6e-6)


def of_echo(snr: np.ndarray) -> np.ndarray:
    amplitude = np.sqrt(np.broadcast_to(snr, (24, 14)))

    def mean(parameters: np.ndarray) -> np.ndarray:
        delay, doppler, real, imaginary = parameters
        phase = -2j * np.pi * GRID.frequencies_hz[:, None] * delay + 2j * np.pi * GRID.times_s * doppler
        return (real + 1j * imaginary) * amplitude * np.exp(phase)

    return bounds(mean, [1e-7, 900.0, 0.6, 0.8], [1e-12, 1e-1, 1e-4, 1e-4], 1.0)


@pytest.mark.parametrize("kind", ["uniform", "subcarriers", "product"])
def test_delay_and_doppler_bounds_are_those_of_the_model(kind: str) -> None:
    rng = np.random.default_rng(1)
    over_subcarriers, over_symbols = rng.uniform(0, 3, 24), rng.uniform(0.1, 3, 14)
    snr = {"uniform": 2.0, "subcarriers": over_subcarriers, "product": np.outer(over_subcarriers, over_symbols)}[kind]
    expected = of_echo(np.broadcast_to(snr[:, None] if kind == "subcarriers" else snr, (24, 14)))
    assert crb.delay_variance(snr, GRID) == pytest.approx(expected[0, 0], rel=1e-4)
    assert crb.doppler_variance(snr, GRID) == pytest.approx(expected[1, 1], rel=1e-4)


def test_the_joint_bound_is_the_models_where_power_lies_askew() -> None:
    snr = np.random.default_rng(2).uniform(0, 1, (24, 14)) * (np.add.outer(np.arange(24), np.arange(14)) % 9 < 3)
    snr[:12, 7:] = 0
    expected = of_echo(snr)[:2, :2]
    joint = crb.delay_doppler_covariance(snr, GRID)
    assert joint == pytest.approx(expected, rel=1e-4)
    assert joint[0, 0] > 1.01 * crb.delay_variance(snr, GRID)


def test_uniform_bounds_are_the_closed_forms() -> None:
    n, m, rho = GRID.subcarriers, GRID.symbols, 3.0
    assert crb.delay_variance(rho, GRID) == pytest.approx(
        6 / (rho * n * m * (n**2 - 1) * (2 * np.pi * GRID.subcarrier_spacing_hz) ** 2)
    )
    assert crb.doppler_variance(rho, GRID) == pytest.approx(
        6 / (rho * n * m * (m**2 - 1) * (2 * np.pi * GRID.symbol_s) ** 2)
    )
    assert crb.integrated_snr(rho, GRID) == pytest.approx(rho * n * m)


def test_information_is_concave_and_a_fixed_centre_overestimates() -> None:
    rng = np.random.default_rng(3)
    x = np.arange(30.0)
    for _ in range(50):
        one, other, share = rng.exponential(1, 30), rng.exponential(1, 30), rng.uniform()
        mixed = crb.information(share * one + (1 - share) * other, x)
        assert mixed >= share * crb.information(one, x) + (1 - share) * crb.information(other, x) - 1e-9
        assert crb.information(one, x) <= 2 * (2 * np.pi) ** 2 * (one @ (x - x.mean()) ** 2) + 1e-9


def test_the_bound_of_several_targets_is_the_models() -> None:
    places = [(1e-7, 900.0, 0.6, 0.8), (4e-7, 1400.0, -0.3, 0.4)]
    snr = np.random.default_rng(5).uniform(0, 2, (24, 14))

    def mean(parameters: np.ndarray) -> np.ndarray:
        targets = [Reflector(a, b, c + 1j * d) for a, b, c, d in parameters.reshape(2, 4)]
        return np.sqrt(snr) * response(targets, GRID)

    expected = bounds(mean, np.ravel(places), [1e-12, 1e-1, 1e-4, 1e-4] * 2, 1.0)
    chosen = np.ix_([0, 1, 4, 5], [0, 1, 4, 5])
    targets = [Reflector(a, b, c + 1j * d) for a, b, c, d in places]
    joint = crb.targets_covariance(targets, snr, GRID)
    assert joint == pytest.approx(expected[chosen], rel=1e-3)
    assert crb.targets_covariance(targets[:1], snr, GRID) == pytest.approx(crb.delay_doppler_covariance(snr, GRID))
    assert joint[0, 0] > crb.delay_variance(snr, GRID)
    with pytest.raises(IsacError, match="cannot be told apart"):
        crb.targets_covariance([targets[0], targets[0]], snr, GRID)


@pytest.mark.parametrize(("send", "receive"), [(6, None), (4, 7)])
def test_the_angle_bound_is_the_models(send: int, receive: int | None) -> None:
    sent = gaussian((send, 40), np.random.default_rng(4)) * np.arange(1, send + 1)[:, None]
    angle, alpha, noise = 0.3, 0.2 - 0.1j, 0.05

    def mean(parameters: np.ndarray) -> np.ndarray:
        theta, real, imaginary = parameters
        reflected = steering(theta, send).conj() @ sent
        return (real + 1j * imaginary) * np.outer(steering(theta, receive or send), reflected)

    expected = bounds(mean, [angle, alpha.real, alpha.imag], [1e-5, 1e-4, 1e-4], noise)[0, 0]
    covariance = sent @ sent.conj().T / 40
    bound = crb.angle_variance(covariance, angle, abs(alpha) ** 2, noise, 40, receive)
    assert bound == pytest.approx(expected, rel=1e-5)


def test_what_tells_nothing_has_no_bound() -> None:
    assert crb.delay_variance(0.0, GRID) == np.inf
    assert crb.doppler_variance(1.0, Numerology(28e9, 120e3, 24, 1, 0)) == np.inf
    assert crb.angle_variance(np.eye(1), 0.1, 1.0, 1.0, 10, 1) == np.inf
    assert crb.angle_variance(np.zeros((4, 4)), 0.1, 1.0, 1.0, 10) == np.inf
    one_symbol = np.zeros((24, 14))
    one_symbol[:, 3] = 1
    with pytest.raises(IsacError, match="no information"):
        crb.delay_doppler_covariance(one_symbol, GRID)


def test_the_gate_is_at_25_db() -> None:
    assert crb.crb_is_meaningful(10**2.5) and not crb.crb_is_meaningful(10**2.49)


@pytest.mark.parametrize("snr", [-1.0, np.nan, np.inf, np.ones(5), np.ones((14, 24))])
def test_a_bad_snr_is_refused(snr: object) -> None:
    with pytest.raises(IsacError, match="snr"):
        crb.delay_variance(snr, GRID)  # type: ignore[arg-type]
