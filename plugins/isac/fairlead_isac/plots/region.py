"""The rate-sensing region of the stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..scenarios.region import Point
from .figure import COLOURS, MARKERS, figure, save

#: Where the name alone would mislead.
LABELS = {"collaborative": "collaborative, one cell alone"}


def draw_region(curves: Mapping[str, Sequence[Point]], title: str, path: Path) -> None:
    """Draw illumination over the sum rate, one curve for each stage; a stage of one point is a mark.

    Raises:
        MissingExtra: matplotlib is not installed.
        IsacError: the suffix is none that is written.
    """
    made = figure(7.0, 4.8)
    axes = made.add_subplot()
    for number, (name, points) in enumerate(curves.items()):
        rates, lit = [point.rate for point in points], [point.illumination for point in points]
        style = {"color": COLOURS[number], "marker": MARKERS[number], "label": LABELS.get(name, name)}
        if max(rates) - min(rates) < 0.02 * max(rates):
            axes.plot(rates[:1], lit[:1], linestyle="none", markersize=10, **style)
        else:
            axes.plot(rates, lit, linewidth=1.8, markersize=5, **style)
    axes.set(xlabel="Sum rate (bit/s/Hz)", ylabel="Illumination of the target over N P", xlim=(0, None), ylim=(0, 1.05))
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    save(made, path)
