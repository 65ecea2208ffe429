"""Plots of a plan; imported only where matplotlib is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np


def draw(content: dict[str, Any], directory: Path, form: str) -> list[Path]:
    """Draw what each split reads, and where each layer's neurons go; returns the files."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    shares = [100 * item["pinned_share"] for item in content["candidates"]]
    left.plot(shares, [item["reads_a_token"] for item in content["candidates"]], marker="o")
    left.set(xlabel="of the cache pinned (%)", ylabel="clusters read a token", ylim=(0, None))
    left.set_title("Pinned against least recently used")
    layers = content["layers"]
    places, bottom = np.arange(len(layers)), np.zeros(len(layers))
    for name in ("pinned", "hot", "cold"):
        values = np.asarray([layer[name] if name == "cold" else len(layer[name]) for layer in layers], float)
        right.bar(places, values, bottom=bottom, label=name)
        bottom += values
    right.set(xlabel="layer", ylabel="neurons", xticks=places)
    right.set_title("Where neurons lie")
    right.legend(fontsize=8)
    path = directory / f"plan.{form}"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return [path]
