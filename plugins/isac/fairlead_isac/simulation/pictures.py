"""The layers of one run in detail: what each decided within what the one above left. Needs the extra ``plots``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fairlead_isac.errors import MissingExtra
from fairlead_isac.granularity.band import BandSetting
from fairlead_isac.granularity.cell import CellSetting
from fairlead_isac.simulation.timeline import Timeline


def draw_layers(timeline: Timeline, path: Path, zoom_s: tuple[float, float] | None = None) -> None:
    """Write a picture: services by the band's layer, groups by the cell's, looks by the slot's, verdicts, rates.

    Args:
        timeline: of a policy with all layers; others leave the panels of layers that they do not have empty.
        path: of the picture; its ending says which kind.
        zoom_s: begin and end of the panel of single groups; None: 0.2 s from the middle on.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("pictures need matplotlib; install fairlead-isac[plots]") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(5, 1, figsize=(10, 12), height_ratios=[1.3, 1.3, 1.3, 1.3, 1.0])
    _services(axes[0], timeline)
    _groups(axes[1], timeline, zoom_s or _middle(timeline))
    _looks(axes[2], timeline)
    _verdicts(axes[3], timeline)
    _rates(axes[4], timeline)
    for panel in axes:
        panel.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _middle(timeline: Timeline) -> tuple[float, float]:
    end = _limits(timeline)[1]
    begin = max(0.0, min(round(end / 2.0, 1), end - 0.2))
    return begin, begin + 0.2


def _names(panel: Any, timeline: Timeline) -> None:
    panel.set_yticks(range(len(timeline.targets)), timeline.targets, fontsize=8)
    panel.set_ylim(len(timeline.targets) - 0.5, -0.5)


def _services(panel: Any, timeline: Timeline) -> None:
    """Bars while a target is served, with the share of time that it takes."""
    for decision in timeline.decisions:
        if isinstance(decision.setting, BandSetting):
            for row, name in enumerate(timeline.targets):
                service = decision.setting.served.get(name)
                if service is not None:
                    panel.barh(row, decision.until_s - decision.at_s, left=decision.at_s, color="tab:blue", alpha=0.55)
                    said = f"{100 * service.air_share:.1f} %"
                    panel.text(decision.at_s + 0.03, row, said, fontsize=7, va="center")
    _names(panel, timeline)
    panel.set(title="band (1 s): targets that are served, and the time that it takes", xlim=_limits(timeline))


def _groups(panel: Any, timeline: Timeline, zoom_s: tuple[float, float]) -> None:
    """The cell's groups as bars from their begin to their end; looks of sampled slots as marks."""
    begin, end = zoom_s
    drawn: set[tuple[str, float]] = set()
    for decision in timeline.decisions:
        if isinstance(decision.setting, CellSetting):
            for name, groups in decision.setting.plans.items():
                for group in groups:
                    if begin <= group.begin_s < end and (name, group.begin_s) not in drawn:
                        drawn.add((name, group.begin_s))
                        length = max(group.end_s - group.begin_s, 0.0004)
                        panel.barh(
                            timeline.targets.index(name),
                            length,
                            left=group.begin_s,
                            color="tab:orange",
                            edgecolor="white",
                            linewidth=0.5,
                        )
    _names(panel, timeline)
    panel.set(title="cell (50 ms): groups of looks, each as long as it may wait", xlim=(begin, end))


def _looks(panel: Any, timeline: Timeline) -> None:
    panel.stackplot(timeline.times_s, 100.0 * timeline.looks.T, labels=timeline.targets, step="post", linewidth=0)
    top = 140.0 * float(timeline.looks.sum(axis=1).max(initial=0.01))
    panel.set(title="slot (0.5 ms): share of time that looks took, %", xlim=_limits(timeline), ylim=(0.0, top))
    panel.legend(fontsize=7, ncols=4, loc="upper right")


def _verdicts(panel: Any, timeline: Timeline) -> None:
    for verdict in timeline.verdicts:
        colour = "tab:green" if verdict.met else "tab:red" if verdict.symbols else "lightgrey"
        panel.plot(verdict.begin_s, timeline.targets.index(verdict.target), "s", color=colour, markersize=3)
    _names(panel, timeline)
    said = "refresh intervals: all needs met (green), looked at in vain (red), not looked at (grey)"
    panel.set(title=f"{said}: {100 * timeline.satisfaction:.0f} % met", xlim=_limits(timeline))


def _rates(panel: Any, timeline: Timeline) -> None:
    panel.stackplot(timeline.times_s, timeline.rates_bits_per_s.T / 1e6, labels=timeline.users, linewidth=0)
    top = 1.4e-6 * float(timeline.rates_bits_per_s.sum(axis=1).max(initial=1.0))
    panel.set(title="users' rates, Mbit/s", xlabel="s", xlim=_limits(timeline), ylim=(0.0, top))
    panel.legend(fontsize=7, ncols=6, loc="upper right")


def _limits(timeline: Timeline) -> tuple[float, float]:
    return 0.0, float(np.max(timeline.times_s)) + timeline.sample_s
