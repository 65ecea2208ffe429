"""Plots of recorded telemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Panels: a title, and the numbers that it shows, each with its name in the legend.
PANELS: Sequence[tuple[str, Mapping[str, str]]] = (
    (
        "tokens a second",
        {"answer_tokens_per_s": "answers", "prompt_tokens_per_s": "prompts", "decode_tokens_per_s": "while decoding"},
    ),
    (
        "neurons a token",
        {
            "predicted_neurons_per_token": "predicted",
            "computed_neurons_per_token": "gates computed",
            "active_neurons_per_token": "active",
        },
    ),
    (
        "where neurons were",
        {
            "found_fixed_share": "fixed",
            "found_hot_share": "hot",
            "found_cold_share": "cold",
            "found_storage_share": "storage",
        },
    ),
    ("bytes read a token", {"read_bytes_per_token": "bytes"}),
    (
        "joules of the whole device a token",
        {"joules_per_answer_token": "of an answer", "joules_per_prompt_token": "of a prompt"},
    ),
    (
        "shares",
        {
            "read_overlap_share": "reads that computing overlapped",
            "draft_acceptance": "guesses that stood",
            "prefix_cache_share": "of prompts known before",
        },
    ),
)


def draw(recorded: Sequence[Mapping[str, Any]], directory: Path, form: str) -> list[Path]:
    """Draw what there is of the panels over time, and the active share by layer; return the file's path in a list.

    Args:
        recorded: what `fairlead sparse telemetry` writes, one object a reading.
        directory: where `telemetry.FORM` goes.
        form: "png" or "svg".
    """
    from matplotlib.figure import Figure

    panels = [(title, _present(names, recorded)) for title, names in PANELS]
    panels = [(title, names) for title, names in panels if names]
    figure = Figure(figsize=(9, 2.4 * (len(panels) + 1)), layout="constrained")
    axes = figure.subplots(len(panels) + 1, 1, squeeze=False)[:, 0]
    start_s = recorded[0]["at_s"] if recorded else 0.0
    for axis, (title, names) in zip(axes, panels, strict=False):
        for name, words in names.items():
            points = [(one["at_s"] - start_s, one["values"][name]) for one in recorded if name in one["values"]]
            axis.plot(*zip(*points, strict=True), marker=".", label=words)
        axis.set(title=title, xlabel="seconds", ylim=(0, None))
        axis.legend()
    _draw_layers(axes[-1], recorded)
    path = directory / f"telemetry.{form}"
    figure.savefig(path)
    return [path]


def _present(names: Mapping[str, str], recorded: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {name: words for name, words in names.items() if any(name in one["values"] for one in recorded)}


def _draw_layers(axis: Any, recorded: Sequence[Mapping[str, Any]]) -> None:
    shares = [one["layers"]["active"] for one in recorded if any(one["layers"].get("active", ()))]
    mean = [sum(layer) / len(layer) for layer in zip(*shares, strict=True)]
    axis.bar(range(len(mean)), mean)
    axis.set(title="active of computed neurons, mean over the readings", xlabel="layer", ylim=(0, None))
