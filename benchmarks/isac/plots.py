"""Pictures of the region, the beampatterns and the duplex ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.isac.peak_sidelobe import FINE, Pattern
from benchmarks.isac.region import CONVERGED, ORTHOGONAL, SEPARATED, Point


def region(curves: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Illumination over rate, a curve a stage; hollow marks: the figures to reproduce."""
    figure, axes = _figure()
    known = {"converged": list(CONVERGED.values()), "orthogonal": list(ORTHOGONAL.values()), "separated": [SEPARATED]}
    for name, points in curves.items():
        label = {"orthogonal": "orthogonal in time"}.get(name, name)
        (line,) = axes.plot([p.rate for p in points], [p.illumination for p in points], marker=".", label=label)
        rates, lit = zip(*known[name], strict=True)
        axes.plot(rates, lit, "o", ms=9, mfc="none", color=line.get_color())
    axes.plot([], [], "o", ms=9, mfc="none", color="gray", label="to reproduce")
    axes.set(xlabel="sum rate, bit/s/Hz", ylabel="illumination, share of N P", xlim=(0, None), ylim=(0, 1.05))
    axes.set_title("16 antennas, 4 users, 20 dB, Rayleigh, mean of 20 drops")
    _save(figure, axes, path)


def patterns(radar: Pattern, shared: Sequence[Pattern], path: Path) -> None:
    """Beampatterns in dB, the radar's alone and with four users."""
    figure, axes = _figure()
    angles, ratios = np.rad2deg(FINE), [each.ratio_db for each in shared]
    label = f"with 4 users, {len(ratios)} draws: {min(ratios):.1f} to {max(ratios):.1f} dB"
    for number, each in enumerate(shared):
        named = {} if number else {"label": label}
        axes.plot(angles, _decibels(each.power), color="C1", lw=0.8, alpha=0.7, **named)
    axes.plot(angles, _decibels(radar.power), color="C0", label=f"radar alone: {radar.ratio_db:.1f} dB")
    axes.set(xlabel="angle, degrees", ylabel="illumination, dB of P", xlim=(-90, 90), ylim=(-30, 14))
    axes.set_title("20 antennas, SINR of 10 dB: peak-to-sidelobe ratios")
    _save(figure, axes, path)


def duplex(ratios: Mapping[str, Mapping[float, float]], found: Mapping[float, float], path: Path) -> None:
    """Full over half duplex by cancellation."""
    figure, axes = _figure()
    for name, values in ratios.items():
        axes.plot(list(values), list(values.values()), label=name)
    axes.plot(list(found), list(found.values()), "o", ms=9, mfc="none", color="gray", label="to reproduce")
    axes.axhline(1.0, color="black", lw=0.8)
    axes.set(xlabel="self-interference cancellation, dB", ylabel="sum rate, full over half duplex", ylim=(0, 2.1))
    _save(figure, axes, path)


def _figure() -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(6.4, 4.2), dpi=120, layout="constrained")


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-6))
