"""The plot of thresholds: sparsity against perplexity and speed; imported only where matplotlib is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt


def draw(content: dict[str, Any], directory: Path, form: str) -> list[Path]:
    """Draw one plot with two scales; returns the file."""
    levels = content["levels"]
    left_out = [0.0, *(100 * level["measured_sparsity"] for level in levels)]
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    losses = [content["exact"]["perplexity"], *(level["perplexity"] for level in levels)]
    axes.plot(left_out, losses, marker="o", color="tab:blue")
    axes.set(xlabel="neurons left out (%)", yscale="log")
    axes.set_ylabel("perplexity", color="tab:blue")
    dense = content["dense_feed_forward_us"]
    if dense is not None:
        other = axes.twinx()
        other.plot(
            left_out, [1.0, *(dense / level["feed_forward_us"] for level in levels)], marker="s", color="tab:red"
        )
        other.set_ylabel("feed-forward, times as fast", color="tab:red")
        other.set_ylim(bottom=0)
    axes.set_title(f"{content['model']}: thresholds")
    path = directory / f"threshold.{form}"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return [path]
