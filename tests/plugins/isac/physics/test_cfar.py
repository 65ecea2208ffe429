"""CFAR detectors: their false-alarm rate, what they find, and the fast way against the plain one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics.cfar import Cfar, detect, exceeds, noise_at
from fairlead_isac.physics.channel import gaussian
from fairlead_isac.physics.detection import mean_factor, order_factor
from fairlead_isac.physics.peaks import peaks
from fairlead_isac.physics.range_doppler import Processing, transformed

MEAN, ORDER = Cfar((1, 1), (3, 2), 1e-2), Cfar((1, 1), (3, 2), 1e-2, order=0.75)


def plainly(power: np.ndarray, cfar: Cfar) -> np.ndarray:
    """Each cell by itself."""
    count, width = power.shape
    found = np.zeros(power.shape, bool)
    high, wide = cfar.guard[0] + cfar.training[0], cfar.guard[1] + cfar.training[1]
    for row in range(count):
        for column in range(width):
            training = [
                power[i, j % width]
                for i in range(max(row - high, 0), min(row + high + 1, count))
                for j in range(column - wide, column + wide + 1)
                if abs(i - row) > cfar.guard[0] or abs(j - column) > cfar.guard[1]
            ]
            if cfar.order is None:
                level = mean_factor(cfar.false_alarm, len(training)) * np.mean(training)
            else:
                rank = max(1, round(cfar.order * len(training)))
                level = order_factor(cfar.false_alarm, len(training), rank) * np.sort(training)[rank - 1]
            found[row, column] = power[row, column] > level
    return found


@pytest.mark.parametrize("cfar", [MEAN, ORDER, dataclasses.replace(ORDER, order=0.3)])
@pytest.mark.parametrize("kind", ["noise", "ridge"])
def test_the_fast_way_finds_what_the_plain_one_finds(cfar: Cfar, kind: str) -> None:
    power = np.random.default_rng(1).exponential(1, (40, 22))
    if kind == "ridge":
        power[:, 11] *= 1e6
        power[17] *= np.linspace(1, 1e5, 22)
    expected = plainly(power, cfar)
    assert (detect(power, cfar) == expected).all()
    cells = np.argwhere(power > 1)
    assert (exceeds(power, cfar, cells) == expected[power > 1]).all()


@pytest.mark.parametrize("cfar", [MEAN, ORDER])
@pytest.mark.parametrize("level", [1e-9, 1.0, 1e12])
def test_false_alarms_are_as_many_as_asked_at_any_noise(cfar: Cfar, level: float) -> None:
    power = level * np.random.default_rng(2).exponential(1, (400, 200))
    assert detect(power, cfar).mean() == pytest.approx(1e-2, rel=0.12)
    edge = np.random.default_rng(3).exponential(1, (7, 20_000))
    assert detect(edge, cfar)[0].mean() == pytest.approx(1e-2, rel=0.3)


@pytest.mark.parametrize("cfar", [MEAN, ORDER])
def test_false_alarms_stay_near_what_is_asked_in_padded_maps(cfar: Cfar) -> None:
    noise = gaussian((80, 64), np.random.default_rng(7))
    power = np.abs(transformed(noise, Processing(padding=(4, 3)))) ** 2
    padded = dataclasses.replace(cfar, padding=(4, 3))
    assert detect(power, padded).mean() == pytest.approx(1e-2, rel=0.4)


def test_ordered_training_sees_two_targets_beside_each_other() -> None:
    power = np.random.default_rng(4).exponential(1, (60, 40))
    power[30, 20], power[30, 23], power[32, 23] = 60.0, 600.0, 600.0
    sharp = dataclasses.replace(MEAN, false_alarm=1e-5)
    assert not detect(power, sharp)[30, 20]
    assert detect(power, dataclasses.replace(sharp, order=0.75))[30, 20]


@pytest.mark.parametrize("cfar", [MEAN, ORDER])
def test_the_noise_is_estimated_without_bias(cfar: Cfar) -> None:
    power = 5 * np.random.default_rng(5).exponential(1, (200, 100))
    cells = np.stack(np.meshgrid(np.arange(0, 200, 7), np.arange(100)), axis=-1).reshape(-1, 2)
    assert noise_at(power, cfar, cells).mean() == pytest.approx(5, rel=0.02)


def test_peaks_are_single_refined_and_strongest_first() -> None:
    rows, columns = np.mgrid[:60, :40]
    power = np.random.default_rng(6).exponential(1, (60, 40))
    for row, column, height in ((20.3, 10.2, 400.0), (45.0, 0.0, 4000.0)):
        apart = np.minimum(abs(columns - column), 40 - abs(columns - column))
        power += height * np.exp(-((rows - row) ** 2 + apart**2) / 2)
    found = peaks(power, Cfar((4, 4), (6, 4), 1e-6))
    assert len(found) == 2
    assert (found[0].row, found[0].column) == pytest.approx((45.0, 0.0), abs=0.1)
    assert (found[1].row, found[1].column) == pytest.approx((20.3, 10.2), abs=0.15)
    assert found[0].cell == (45, 0) and found[0].snr > 1000
    assert len(peaks(power, Cfar((4, 4), (6, 4), 1e-6), most=1)) == 1


@pytest.mark.parametrize(
    ("power", "match"),
    [
        (np.ones((5, 5)), r"power of shape \(5, 5\)"),
        (np.ones(50), "power of shape"),
        (np.ones((4, 40)), "at least"),
        (np.full((60, 40), np.nan), "not finite"),
        (np.full((60, 40), -1.0), "negative"),
    ],
)
def test_what_is_no_map_is_refused(power: np.ndarray, match: str) -> None:
    with pytest.raises(IsacError, match=match):
        detect(power, MEAN)


@pytest.mark.parametrize(
    ("field", "value"),
    [("guard", (-1, 0)), ("training", (0, 0)), ("false_alarm", 1.0), ("order", 0.0), ("padding", (0, 1))],
)
def test_a_bad_window_is_refused(field: str, value: object) -> None:
    with pytest.raises(IsacError, match=f"cfar.*{field} = "):
        dataclasses.replace(MEAN, **{field: value})  # type: ignore[arg-type]
