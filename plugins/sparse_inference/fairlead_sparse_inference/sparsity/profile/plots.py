"""Plots of a profile; imported only where matplotlib is."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from .file import Profile
from .record import HISTOGRAM_EDGES


def draw(profile: Profile, directory: Path, form: str) -> list[Path]:
    """Draw frequencies, unions, magnitudes and clusters into a directory; returns the files."""
    panels = {
        "frequency": _frequency,
        "union": _union,
        "magnitude": _magnitude,
        "clusters": _clusters,
        **({"experts": _experts} if _uses(profile) else {}),
    }
    made: list[Path] = []
    for name, panel in panels.items():
        figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        panel(axes, profile)
        path = directory / f"profile-{name}.{form}"
        figure.savefig(path, dpi=110)
        plt.close(figure)
        made.append(path)
    return made


def _uses(profile: Profile) -> dict[str, list[float]]:
    """The share of tokens that each expert gets, by layer."""
    uses: dict[str, list[float]] = {}
    for network in profile.summary["layers"]:
        layer, expert, _ = network.get("network", "").partition(".experts.")
        if expert:
            uses.setdefault(layer.removeprefix("layers."), []).append(network["use"])
    return uses


def _experts(axes: Axes, profile: Profile) -> None:
    uses = _uses(profile)
    image = axes.imshow([[100 * use for use in sorted(row, reverse=True)] for row in uses.values()], aspect="auto")
    axes.set_yticks(range(len(uses)), list(uses), fontsize=7)
    axes.set(xlabel="experts, most used first", ylabel="layer")
    axes.set_title("Tokens that an expert gets (%)")
    axes.figure.colorbar(image, ax=axes)


def _frequency(axes: Axes, profile: Profile) -> None:
    for number, frequencies in enumerate(profile.frequencies()):
        axes.plot(np.linspace(0, 100, len(frequencies)), 100 * np.sort(frequencies)[::-1], label=f"layer {number}")
    axes.set(xlabel="neurons, most frequent first (%)", ylabel="tokens that fire it (%)", yscale="symlog")
    axes.set_title("How often neurons fire")
    _legend(axes, len(profile.layers))


def _union(axes: Axes, profile: Profile) -> None:
    batches = profile.summary["batches"]
    for number, layer in enumerate(profile.summary["layers"]):
        axes.plot(
            batches,
            100 * np.asarray(layer["union"]) / len(profile.layers[number].order),
            marker="o",
            label=f"layer {number}",
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set(xlabel="tokens in a batch", ylabel="neurons that fire for one of them (%)", ylim=(0, 100))
    axes.set_title("What a batch has to compute")
    _legend(axes, len(profile.layers))


def _magnitude(axes: Axes, profile: Profile) -> None:
    for number, layer in enumerate(profile.layers):
        shares = 100 * layer.histogram / layer.histogram.sum()
        axes.plot(HISTOGRAM_EDGES, shares[1:], label=f"layer {number} ({shares[0]:.0f} % below 2^-20)")
    axes.set_xscale("log", base=2)
    axes.set(xlabel="magnitude of the activation", ylabel="activations (%)")
    axes.set_title("How strongly neurons fire")
    _legend(axes, len(profile.layers))


def _clusters(axes: Axes, profile: Profile) -> None:
    sizes = profile.summary["cluster_sizes"]
    layers = profile.summary["layers"]
    names = {"index": "model's order", "frequency": "by frequency", "coactivation": "by co-activation"}
    for name, label in names.items():
        touched = np.sum([layer["clusters_touched"][name] for layer in layers], axis=0)
        axes.plot(sizes, touched * np.asarray(sizes), marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="neurons in a cluster", ylabel="neurons read for a token, all layers", ylim=(0, None))
    axes.set_title("What an order on disk saves (other half of the text)")
    axes.legend(fontsize=8)


def _legend(axes: Axes, entries: int) -> None:
    if entries <= 12:
        axes.legend(fontsize=7)
