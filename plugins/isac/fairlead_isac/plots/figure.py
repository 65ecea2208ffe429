"""Figures without a display, in one style."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import IsacError, MissingExtra

SUFFIXES = (".png", ".svg", ".pdf")
#: One colour for each series, the same in all pictures (Okabe and Ito: told apart by all).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def figure(width: float, height: float) -> Any:
    """A figure of inches.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        how = "pip install 'fairlead-isac[plots]'"
        raise MissingExtra(f"matplotlib = not installed ({error}); accepted: {how}") from None
    made = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(made)
    return made


def save(made: Any, path: Path) -> None:
    """Write a figure.

    Raises:
        IsacError: the suffix is none that is written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise IsacError(f"picture = {str(path)!r}; accepted: a name that ends in {', '.join(SUFFIXES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, metadata={"Software": None} if path.suffix.lower() == ".png" else None)
