"""From dwells to a decision: rates, what targets get, and which needs are missed. The same for all stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead_isac.duplex.receiving import disturbance, uplink_sinr
from fairlead_isac.physics.arrays import steering
from fairlead_isac.scenario import ComplexArray, FloatArray, User
from fairlead_isac.stages.decision import Decision, Dwell
from fairlead_isac.stages.heard import heard
from fairlead_isac.stages.scene import Scene
from fairlead_isac.stages.sensing import sense


def evaluate(
    stage: str,
    scene: Scene,
    dwells: Sequence[Dwell],
    *,
    reason: str,
    fallback: str | None = None,
    gap: float = 0.0,
    notes: dict[str, float] | None = None,
) -> Decision:
    """Say what dwells give; their fractions are of the time in which the cell sends."""
    rates, sinr = _downlink(scene, dwells)
    sent = sum((dwell.fraction * dwell.covariance() for dwell in dwells), np.zeros((scene.antennas,) * 2, complex))
    power = max((dwell.sent_watts for dwell in dwells), default=0.0)
    upward, upward_sinr = _uplink(scene, power, sent)
    rates |= upward
    return Decision(
        stage=stage,
        duplex=scene.budget.duplex,
        power_watts=power,
        dwells=tuple(dwells),
        covariance=sent,
        time_fraction_sensing=scene.downlink_fraction * sum(d.fraction for d in dwells if d.silent),
        rate_bits_per_s=rates,
        sinr=sinr | upward_sinr,
        sensing=sense(scene, dwells),
        unmet=tuple(_missed(user, rates[user.name]) for user in _needing(scene, rates)),
        fallback="; ".join([*([fallback] if fallback else []), *scene.left_out]) or None,
        reason=reason,
        gap=gap,
        notes=notes or {},
    )


def dwell_efficiency(scene: Scene, dwell: Dwell) -> FloatArray:
    """Spectral efficiency of each user in a dwell, bit/s/Hz of the whole band; float [K]."""
    if dwell.power_watts is not None:
        return _block_efficiency(scene, dwell)
    sinr = _stream_sinr(scene, dwell)
    return dwell.data_band * np.log2(1 + sinr)


def _stream_sinr(scene: Scene, dwell: Dwell) -> FloatArray:
    """SINR of each user, 0 without a stream; float [K]."""
    names = [user.name for user in scene.users]
    out = np.zeros(len(names))
    if not names or not len(dwell.beamformers):
        return out
    received = np.abs(scene.channels.conj() @ dwell.beamformers.T) ** 2
    if dwell.disjoint:
        received = received * np.array([user is not None for user in dwell.stream_users])
    for stream, user in enumerate(dwell.stream_users):
        if user is not None:
            at = names.index(user)
            other = received[at].sum() - received[at, stream]
            out[at] = received[at, stream] / (other + scene.noise_watts * dwell.data_band)
    return out


def _block_efficiency(scene: Scene, dwell: Dwell) -> FloatArray:
    """Rates of streams that have blocks to themselves, in frequency or in time; float [K], bit/s/Hz."""
    assert dwell.power_watts is not None
    names, out = [user.name for user in scene.users], np.zeros(len(scene.users))
    blocks = dwell.power_watts.shape[1]
    noise = scene.noise_watts / blocks
    for stream, user in enumerate(dwell.stream_users):
        if user is None:
            continue
        at = names.index(user)
        channels = scene.channels[at] if scene.selective else scene.channels[at][None, :]
        gains = np.abs((channels.conj() * dwell.beamformers[stream]).sum(axis=-1)) ** 2 / noise
        share = np.ones(blocks) if dwell.share is None else dwell.share[stream]
        snr = dwell.power_watts[stream] * gains / np.maximum(share, 1e-12)
        out[at] += float((share * np.log2(1 + snr)).mean())
    return out


def _downlink(scene: Scene, dwells: Sequence[Dwell]) -> tuple[dict[str, float], dict[str, float]]:
    band = scene.cell.numerology.bandwidth_hz * scene.downlink_fraction
    efficiency, busy = np.zeros(len(scene.users)), np.zeros(len(scene.users))
    for dwell in dwells:
        got = dwell_efficiency(scene, dwell)
        efficiency += dwell.fraction * got
        busy += np.where(got > 0, dwell.fraction * (dwell.data_band if dwell.power_watts is None else 1.0), 0.0)
    mean = np.divide(efficiency, busy, out=np.zeros_like(busy), where=busy > 0)
    rates = {user.name: float(band * value) for user, value in zip(scene.users, efficiency, strict=True)}
    return rates, {user.name: float(2**value - 1) for user, value in zip(scene.users, mean, strict=True)}


def uplink_rates(
    scene: Scene, power_watts: float, covariance: ComplexArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Rates in bit/s and SINR of users that send, float [U] each, while the cell sends with a power (full duplex).

    Args:
        scene: who hears.
        power_watts: that the cell sends with.
        covariance: of what it sends, complex [N, N], which lights clutter and targets; None: alike in all directions.
    """
    full = scene.budget.duplex == "full"
    if full:
        covariance = np.eye(scene.antennas) * (power_watts / scene.antennas) if covariance is None else covariance
        sent = float(np.trace(covariance).real)
        scaled = covariance * (power_watts / sent) if sent > 0 else covariance
        around = heard(scene, scaled) + _echoes(scene, covariance)
    else:
        around = disturbance(scene.cell.echo_antennas, scene.echo_noise_watts, power_watts, None)
    sinr = uplink_sinr(scene.uplink, scene.sent_watts, around)
    time = 1.0 if full else scene.budget.uplink_fraction
    return scene.cell.numerology.bandwidth_hz * time * np.log2(1 + sinr), sinr


def _echoes(scene: Scene, covariance: ComplexArray) -> ComplexArray:
    """Echoes of targets, complex [M, M] in W: signal to sensing, and in the way of users that send."""
    back = steering(np.array([target.angle_rad for target in scene.targets]), scene.cell.echo_antennas)
    lit = np.einsum("tn,nm,tm->t", scene.steering.conj(), covariance, scene.steering).real
    return (back.T * (scene.gains * lit)) @ back.conj()


def _uplink(scene: Scene, power: float, covariance: ComplexArray) -> tuple[dict[str, float], dict[str, float]]:
    rates, sinr = uplink_rates(scene, power, covariance)
    names = [user.name for user in scene.senders]
    return (
        {name: float(value) for name, value in zip(names, rates, strict=True)},
        {name: float(value) for name, value in zip(names, sinr, strict=True)},
    )


def _needing(scene: Scene, rates: dict[str, float]) -> list[User]:
    served = (*scene.users, *scene.senders)
    return [user for user in served if rates[user.name] < user.min_rate_bits_per_s * (1 - 1e-6)]


def _missed(user: User, rate: float) -> str:
    return f"{user.name}.min_rate_bits_per_s: {rate:.4g}; asked {user.min_rate_bits_per_s:.4g}"
