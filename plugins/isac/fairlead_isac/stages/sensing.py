"""What targets get of a decision's dwells, and how much illumination their needs ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from fairlead_isac.errors import IsacError
from fairlead_isac.physics.crb import MEANINGFUL_DB, angle_variance, crb_is_meaningful, information
from fairlead_isac.physics.detection import detection_probability, required_snr
from fairlead_isac.physics.numerology import SPEED_OF_LIGHT, Numerology
from fairlead_isac.scenario import ComplexArray, FloatArray, SensingNeed, Target
from fairlead_isac.stages.decision import Dwell, SensingResult
from fairlead_isac.stages.heard import echo_part
from fairlead_isac.stages.scene import Scene

FALSE_ALARM = 1e-6
"""Per tested cell, where a target's need does not say."""
_MOST = 1e100
"""Stands for an SNR that cannot be had, and stays finite in products."""


def sense(scene: Scene, dwells: Sequence[Dwell]) -> dict[str, SensingResult]:
    """What each target gets: bounds of its estimates from all dwells of a frame together, and its detection.

    Dwells are spread evenly over the frame, so that each of them sees all of its time.
    """
    return {target.name: _result(scene, at, dwells) for at, target in enumerate(scene.targets)}


def needed_snr(need: SensingNeed, numerology: Numerology, receive_antennas: int, angle_rad: float) -> float:
    """Integrated SNR at which all needs are met, illumination being uniform over the grid and from one beam; 0: none.

    Infinite where a need cannot be met by any (one subcarrier tells no range, one symbol no velocity).
    """
    wanted = [0.0]
    if need.detection_probability is not None:
        wanted.append(_detected(need.detection_probability, need.false_alarm or FALSE_ALARM))
    spread = 2 * (2 * math.pi) ** 2
    if need.range_std_m is not None:
        delay = need.range_std_m * 2 / SPEED_OF_LIGHT
        wanted.append(_inverse(spread * _variance(numerology.subcarriers, numerology.subcarrier_spacing_hz) * delay**2))
    if need.velocity_std_m_per_s is not None:
        doppler = need.velocity_std_m_per_s * 2 / numerology.wavelength_m
        wanted.append(_inverse(spread * _variance(numerology.symbols, numerology.symbol_s) * doppler**2))
    if need.angle_std_rad is not None:
        wanted.append(_angle_variance_at_one(receive_antennas, angle_rad) / need.angle_std_rad**2)
    if any(value is not None for value in (need.range_std_m, need.velocity_std_m_per_s, need.angle_std_rad)):
        wanted.append(10 ** (MEANINGFUL_DB / 10))
    return max(wanted)


def needed_illumination(scene: Scene) -> FloatArray:
    """Illumination in W, averaged over the time in which the cell sends, that each target needs; float [T]."""
    antennas = scene.cell.echo_antennas
    snr = [needed_snr(t.required, scene.cell.numerology, antennas, t.angle_rad) for t in scene.targets]
    per_watt = scene.snr_per_watt * scene.resource_elements * max(scene.downlink_fraction, 1e-12)
    return np.minimum(np.array(snr), _MOST) / np.maximum(per_watt, 1 / _MOST)


def block_illumination(dwell: Dwell, steering: ComplexArray) -> FloatArray:
    """Illumination ``a^H R a`` of one target over the band, float [blocks] in W, scaled to the whole band.

    One value where beams are the same over the band. A value is what a uniform spectrum of this density would have.
    """
    heard = np.abs(dwell.beamformers.conj() @ steering) ** 2
    if not dwell.echo_of_data:
        heard = heard * _lights(dwell).reshape(-1, *[1] * (heard.ndim - 1))
    if dwell.power_watts is not None:
        return (heard * dwell.power_watts).sum(axis=0) * heard.shape[1]
    return np.array([heard.sum()])


def _result(scene: Scene, at: int, dwells: Sequence[Dwell]) -> SensingResult:
    numerology, target = scene.cell.numerology, scene.targets[at]
    densities = [_density(dwell, scene, at) for dwell in dwells]
    lit = float(sum(density.mean() for density in densities))
    parts = [echo_part(scene, at, dwell.covariance(), dwell.silent) for dwell in dwells]
    density = sum((part * each for part, each in zip(parts, densities, strict=True)), np.zeros(numerology.subcarriers))
    snr = density * (scene.snr_per_watt[at] * scene.downlink_fraction)
    total = float(snr.sum() * numerology.symbols)
    false_alarm = target.required.false_alarm or FALSE_ALARM
    found = float(detection_probability(total, false_alarm))
    if not crb_is_meaningful(total):
        unmet = _unmet(target, None, None, None, found, total)
        return SensingResult(None, None, None, found, false_alarm, lit, total, True, unmet)
    delay = information(snr * numerology.symbols, numerology.frequencies_hz)
    doppler = 2 * (2 * math.pi) ** 2 * total * _variance(numerology.symbols, numerology.symbol_s)
    # The angle's bound knows of no clutter; it grows as the others do.
    apart = float(density.mean()) / lit if lit > 0 else 1.0
    stds = (
        _std(delay, SPEED_OF_LIGHT / 2),
        _std(doppler, numerology.wavelength_m / 2),
        _angle_std(scene, at, dwells, lit, apart),
    )
    return SensingResult(*stds, found, false_alarm, lit, total, False, _unmet(target, *stds, found, total))


def _density(dwell: Dwell, scene: Scene, at: int) -> FloatArray:
    """Illumination by subcarrier, scaled to the whole band, weighted by the dwell's time; float [subcarriers]."""
    subcarriers = scene.cell.numerology.subcarriers
    blocks = block_illumination(dwell, scene.steering[at]) * dwell.fraction
    if dwell.sensing_band < 1:
        lit = max(1, round(subcarriers * dwell.sensing_band))
        return np.concatenate([np.zeros(subcarriers - lit), np.full(lit, blocks.mean() * subcarriers / lit)])
    return blocks[np.arange(subcarriers) * len(blocks) // subcarriers]


def _angle_std(scene: Scene, at: int, dwells: Sequence[Dwell], lit: float, part: float) -> float | None:
    sent = sum((dwell.fraction * lit_covariance(dwell) for dwell in dwells), np.zeros((scene.antennas,) * 2))
    antennas = scene.cell.echo_antennas
    noise = scene.gains[at] * antennas / (scene.snr_per_watt[at] * max(part, 1e-300))
    looks = max(1, round(scene.resource_elements * scene.downlink_fraction))
    variance = angle_variance(sent, scene.targets[at].angle_rad, scene.gains[at], noise, looks, antennas)
    return math.sqrt(variance) if math.isfinite(variance) and lit > 0 else None


def lit_covariance(dwell: Dwell) -> ComplexArray:
    """Covariance of what a dwell sends and whose echoes are used, complex [N, N] in W."""
    if dwell.echo_of_data:
        return dwell.covariance()
    keep = _lights(dwell) > 0
    power = None if dwell.power_watts is None else dwell.power_watts[keep]
    return replace(dwell, beamformers=dwell.beamformers[keep], power_watts=power).covariance()


def _lights(dwell: Dwell) -> FloatArray:
    return np.array([float(user is None) for user in dwell.stream_users])


@lru_cache(maxsize=1024)
def _detected(probability: float, false_alarm: float) -> float:
    try:
        return required_snr(probability, false_alarm)
    except IsacError:
        return 0.0


@lru_cache(maxsize=1024)
def _angle_variance_at_one(receive_antennas: int, angle_rad: float) -> float:
    """Variance of an angle at an integrated SNR of 1 behind ``receive_antennas``, lit by one beam."""
    slope = math.pi * math.cos(angle_rad)
    return 1 / max(2 * slope**2 * (receive_antennas**2 - 1) / 12, 1e-300)


def _variance(count: int, step: float) -> float:
    """Of ``count`` evenly spaced positions."""
    return step**2 * (count**2 - 1) / 12


def _std(information_: float, scale: float) -> float | None:
    return scale / math.sqrt(information_) if information_ > 0 else None


def _inverse(value: float) -> float:
    return 1 / value if value > 0 else math.inf


def _unmet(
    target: Target, range_m: float | None, velocity: float | None, angle: float | None, found: float, total: float
) -> tuple[str, ...]:
    need, lines = target.required, []
    shown = f"{10 * math.log10(total):.1f} dB" if total > 0 else "none"
    for name, have, wanted in (
        ("range_std_m", range_m, need.range_std_m),
        ("velocity_std_m_per_s", velocity, need.velocity_std_m_per_s),
        ("angle_std_rad", angle, need.angle_std_rad),
    ):
        if wanted is not None and have is None:
            lines.append(f"{target.name}.{name}: no estimate, integrated SNR {shown}; asked {wanted:g}")
        elif wanted is not None and have is not None and have > wanted * (1 + 1e-6):
            lines.append(f"{target.name}.{name}: {have:.3g}; asked {wanted:g}")
    wanted = need.detection_probability
    if wanted is not None and found < wanted - 1e-6:
        lines.append(f"{target.name}.detection_probability: {found:.3g}, integrated SNR {shown}; asked {wanted:g}")
    return tuple(lines)
