"""Probabilities of detection and false alarm, against draws and against each other."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import detection
from fairlead_isac.physics.channel import gaussian


@pytest.mark.parametrize(
    ("a", "b", "value"),  # ncx2.sf(b^2, 2, a^2) of SciPy
    [
        (1.0, 2.0, 0.26901206003591),
        (0.0, 1.0, 0.6065306597126334),
        (5.0, 4.3, 0.7906283109776843),
        (10.0, 12.0, 0.025329474297941492),
        (2.0, 10.0, 1.408336693991233e-15),
        (30.0, 3.0, 1.0),
    ],
)
def test_marcum_q(a: float, b: float, value: float) -> None:
    assert detection.marcum_q(a, b) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("swerling", [0, 1])
def test_targets_are_detected_as_often_as_said(swerling: int) -> None:
    rng, trials, snr = np.random.default_rng(1), 100_000, 8.0
    amplitude = np.sqrt(snr) * (gaussian((trials,), rng) if swerling else 1)
    hits = np.abs(amplitude + gaussian((trials,), rng)) ** 2 > -np.log(1e-3)
    expected = detection.detection_probability(snr, 1e-3, swerling)
    assert hits.mean() == pytest.approx(expected, abs=5 * np.sqrt(0.25 / trials))


def test_a_cfar_threshold_costs_detections_as_said() -> None:
    rng, trials, cells = np.random.default_rng(2), 100_000, 16
    noise = rng.exponential(1, (trials, cells)).mean(axis=1)
    hits = 9 * rng.exponential(1, trials) > detection.mean_factor(1e-3, cells) * noise
    assert hits.mean() == pytest.approx(detection.detection_probability(8.0, 1e-3, 1, cells), abs=0.008)
    assert detection.detection_probability(8.0, 1e-3, 1, 10**6) == pytest.approx(
        detection.detection_probability(8.0, 1e-3, 1), rel=1e-4
    )


@pytest.mark.parametrize(("cells", "rank"), [(16, 12), (24, 24), (9, 1)])
def test_ordered_thresholds_false_alarm_as_often_as_said(cells: int, rank: int) -> None:
    rng, trials = np.random.default_rng(3), 100_000
    factor = detection.order_factor(0.02, cells, rank)
    assert detection.order_false_alarm(factor, cells, rank) == pytest.approx(0.02, rel=1e-9)
    ordered = np.sort(rng.exponential(3.0, (trials, cells)), axis=1)[:, rank - 1]
    assert (rng.exponential(3.0, trials) > factor * ordered).mean() == pytest.approx(0.02, abs=0.0025)


@pytest.mark.parametrize("swerling", [0, 1])
@pytest.mark.parametrize("probability", [0.5, 0.95, 0.999])
def test_the_required_snr_gives_the_probability(probability: float, swerling: int) -> None:
    snr = detection.required_snr(probability, 1e-6, swerling)
    assert detection.detection_probability(snr, 1e-6, swerling) == pytest.approx(probability, rel=1e-6)


def test_nothing_there_is_a_false_alarm() -> None:
    assert detection.detection_probability([0.0, 0.0], 1e-4) == pytest.approx([1e-4, 1e-4])
    assert detection.detection_probability(0.0, 1e-4, 1, 20) == pytest.approx(1e-4)
    assert detection.detection_probability(1e5, 1e-4) == pytest.approx(1)


def test_what_has_no_answer_is_refused() -> None:
    with pytest.raises(IsacError, match="swerling = 3"):
        detection.detection_probability(1.0, 1e-3, 3)
    with pytest.raises(IsacError, match=r"probability = 1\.0"):
        detection.required_snr(1.0, 1e-3)
