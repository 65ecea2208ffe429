"""Pictures of recorded maps, with what was detected in them (the ``plots`` extra: matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import IsacError, MissingExtra
from .detections import Detection
from .surface import Axis, Surface

SUFFIXES = (".png", ".svg", ".pdf")
_LABELLED = 12
_MARKS = ((True, "o", "#ff3b30", "moving"), (False, "s", "white", "within a Doppler cell of 0"))
_LINES = ((True, "<", "#ff3b30", "moving"), (False, "<", "white", "within a Doppler cell of 0"))


def draw(surface: Surface, found: Sequence[Detection], path: Path, span_db: float | None = None) -> None:
    """Draw a map with its axes in their units, a scale in dB and its detections, and write it.

    Args:
        surface: the map.
        found: what was detected in it.
        path: of the picture: .png, .svg or .pdf.
        span_db: from the darkest to the brightest; None: from a little under the median to the peak.

    Raises:
        MissingExtra: matplotlib is not installed.
        IsacError: the suffix is another one.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise IsacError(f"picture = {str(path)!r}; accepted: a name that ends in {', '.join(SUFFIXES)}")
    figure_of = _matplotlib()
    figure = figure_of(figsize=(8.0, 5.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    top = float(surface.power_db.max())
    low = top - span_db if span_db is not None else float(np.median(surface.power_db)) - 3
    image = axes.imshow(
        surface.power_db,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="viridis",
        extent=(*_edges(surface.columns), *_edges(surface.rows)),
        vmin=min(low, top - 1),
        vmax=top,
    )
    figure.colorbar(image, ax=axes, label=surface.scale, extend="min")
    axes.set(xlabel=surface.columns.title, ylabel=surface.rows.title, autoscale_on=False)
    what = {"range-Doppler": "detections", "micro-Doppler": "lines that last"}.get(surface.kind)
    count = f", {len(found)} {what}" if what else ""
    axes.set_title("\n".join((f"{surface.name}: {surface.kind} map{count}", *surface.notes)), fontsize=11)
    _mark(axes, found, surface)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None} if path.suffix.lower() == ".png" else None)


def _mark(axes: Any, found: Sequence[Detection], surface: Surface) -> None:
    lines = surface.kind == "micro-Doppler"
    for moving, mark, colour, label in _LINES if lines else _MARKS:
        these = [each for each in found if each.moving == moving]
        if these:
            x, y = [each.column for each in these], [each.row for each in these]
            axes.scatter(x, y, 70, marker=mark, facecolors="none", edgecolors=colour, linewidths=1.4, label=label)
    for number, each in enumerate(found[:_LABELLED], 1):
        axes.annotate(str(number), (each.column, each.row), (-14 if lines else 6, 4), **_BESIDE)
    if found:
        axes.legend(loc="upper right", fontsize=8, framealpha=0.7, facecolor="#30304a", labelcolor="white")
        axes.text(0.012, 0.985, _table(found[:_LABELLED], surface), transform=axes.transAxes, **_BOX)


_BESIDE = {"textcoords": "offset points", "color": "white", "fontsize": 8, "fontweight": "bold"}
_BOX: dict[str, Any] = {
    "color": "white",
    "fontsize": 7.5,
    "family": "monospace",
    "va": "top",
    "bbox": {"facecolor": "#30304a", "edgecolor": "none", "alpha": 0.7},
}


def _table(found: Sequence[Detection], surface: Surface) -> str:
    """The strongest detections in words: number, place, and how far they rise over their surroundings."""
    rows, columns = surface.rows.unit or "cells", surface.columns.unit or "cells"
    lines = []
    for number, each in enumerate(found, 1):
        shift = round(each.column, 1) + 0.0  # no minus before a zero
        where = f"{each.row:6.1f} {rows} {shift:+7.1f} {columns}{_angle(each)}"
        if surface.kind == "micro-Doppler":
            where = f"{each.row:+7.1f} {rows}"
        lines.append(f"{number:2}: {where} {each.snr_db:3.0f} dB")
    return "\n".join(lines)


def _angle(found: Detection) -> str:
    return "" if found.angle_rad is None else f" {np.degrees(found.angle_rad):+4.0f}\u00b0"


def _edges(axis: Axis) -> tuple[float, float]:
    """Outer edges of the first and the last cell."""
    return axis.values[0] - axis.step / 2, axis.values[-1] + axis.step / 2


def _matplotlib() -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        how = "pip install 'fairlead-isac[plots]'"
        raise MissingExtra(f"matplotlib = not installed ({error}); accepted: {how}") from None

    def figure(**options: Any) -> Any:
        made = Figure(**options)
        FigureCanvasAgg(made)
        return made

    return figure
