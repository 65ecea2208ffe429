"""Plots of trained predictors; imported only where matplotlib is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

#: Networks that a legend has room for.
_LABELLED = 12


def draw(content: dict[str, Any], directory: Path, form: str) -> list[Path]:
    """Draw what is predicted, confirmed and needed by layer, and what each hidden size costs; returns the files."""
    return [
        _shares(content, directory / f"predictor-shares.{form}"),
        _ranks(content, directory / f"predictor-ranks.{form}"),
    ]


def _shares(content: dict[str, Any], path: Path) -> Path:
    layers = [layer for layer in content["layers"] if "gates" in layer]
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    places = np.arange(len(layers))
    names = {"gates": "gate not zero (exact mode)", "predicted": "predicted", "fires": "adds something"}
    for number, (name, label) in enumerate(names.items()):
        axes.bar(places + 0.27 * (number - 1), [100 * layer[name] for layer in layers], 0.25, label=label)
    axes.set(
        xlabel="network", ylabel="neurons (%)", xticks=places if len(places) <= 32 else places[:: len(places) // 16]
    )
    axes.set_title(f"Weighted recall {min(layer['weighted_recall'] for layer in layers):.2%} or more")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _ranks(content: dict[str, Any], path: Path) -> Path:
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for number, layer in enumerate(content["layers"]):
        ranks = [int(rank) for rank in layer["tried"]]
        axes.plot(
            ranks, list(layer["tried"].values()), marker="o", label=layer["network"] if number < _LABELLED else None
        )
    axes.set_xscale("log", base=2)
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set(xlabel="hidden size", ylabel="weights read, exact mode = 1")
    axes.set_title("What a hidden size costs at the wanted recall")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
