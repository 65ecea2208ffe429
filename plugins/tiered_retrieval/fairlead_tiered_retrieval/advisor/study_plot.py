"""Pictures of a study; needs matplotlib (``pip install 'fairlead-tiered-retrieval[plots]'``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .study import Measured, ratios


def draw_ratios(found: Sequence[Measured], file: Path) -> None:
    """Draw a map for each tier, over bytes and queries under way: how many times faster clusters are than the graph."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    tiers = list(dict.fromkeys(one.tier for one in found))
    payloads = sorted({one.payload for one in found})
    flights = sorted({one.in_flight for one in found})
    by = ratios(found)
    columns = min(3, len(tiers))
    lines = -(-len(tiers) // columns)
    figure = Figure(figsize=(4.1 * columns + 0.8, 2.6 * lines + 0.4), layout="constrained")
    grid = np.atleast_1d(figure.subplots(lines, columns, squeeze=False)).ravel()
    most = max(1.5, max(max(value, 1 / value) for value in by.values()))
    for axes in grid[len(tiers) :]:
        axes.set_axis_off()
    for axes, tier in zip(grid, tiers, strict=False):
        values = np.array([[by[tier, payload, flight] for payload in payloads] for flight in flights])
        shown = axes.imshow(values, cmap="RdBu", norm=LogNorm(1 / most, most), aspect="auto", origin="lower")
        for (row, column), value in np.ndenumerate(values):
            dark = max(value, 1 / value) > most**0.6
            text = f"{value:.1f}" if value >= 1 else f"1/{1 / value:.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        axes.set_title(tier, fontsize=9)
        axes.set_xticks(range(len(payloads)), payloads, fontsize=7)
        axes.set_yticks(range(len(flights)), flights, fontsize=7)
        axes.set_xlabel("bytes of a vector", fontsize=8)
        axes.set_ylabel("queries under way", fontsize=8)
    bar = figure.colorbar(shown, ax=list(grid), shrink=0.8)
    bar.set_label("clusters / graph, queries per second")
    _save(figure, file)


def draw_rates(found: Sequence[Measured], payload: int, file: Path) -> None:
    """Draw queries per second over queries under way for vectors of one size: both kinds, each tier a colour."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    for index, tier in enumerate(dict.fromkeys(one.tier for one in found)):
        for kind, style in (("graph", "--"), ("lists", "-")):
            own = [one for one in found if (one.tier, one.kind, one.payload) == (tier, kind, payload)]
            axes.plot(
                [one.in_flight for one in own],
                [one.per_second for one in own],
                style,
                color=f"C{index}",
                marker="o",
                markersize=3,
                label=tier if kind == "lists" else None,
            )
    axes.set(xscale="log", yscale="log", xlabel="queries under way", ylabel="queries per second")
    axes.set_title(f"vectors of {payload} B: clusters (lines) and the graph (dashed)", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, file)


def _save(figure: object, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)  # type: ignore[attr-defined]
