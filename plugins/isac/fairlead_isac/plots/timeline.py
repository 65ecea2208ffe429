"""What each granularity decided, over time, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..granularity.layer import LayerDecision
from ..simulation.timeline import Timeline
from .figure import COLOURS, figure, save

_LAYERS = ("band", "cell", "slot", "symbol")


def draw_timeline(timeline: Timeline, title: str, path: Path) -> None:
    """Draw decisions by layer, sensing's share of time by target, rates by user, and missed intervals.

    Raises:
        MissingExtra: matplotlib is not installed.
        IsacError: the suffix is none that is written.
    """
    made = figure(9.0, 8.4)
    decided, shares, rates, met = made.subplots(4, 1, sharex=True, height_ratios=(1.3, 1.5, 1.5, 1.1))
    _decisions(decided, timeline)
    _stacked(shares, timeline, 100 * timeline.looks, timeline.targets, "Looks (% of time)")
    for number, name in enumerate(timeline.users):
        values = timeline.rates_bits_per_s[:, number] / 1e6
        rates.plot(timeline.times_s, values, linewidth=1.1, color=COLOURS[number % 8], label=name)
    rates.set_ylabel("Rate (Mbit/s)")
    _verdicts(met, timeline)
    for axes in (shares, rates):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    met.set_xlabel("Time (s)")
    made.suptitle(title, fontsize=12)
    save(made, path)


def _decisions(axes: Any, timeline: Timeline) -> None:
    """A mark for each decision, a row for each layer; what fell back is a cross."""
    present = [name for name in _LAYERS if name in timeline.decided]
    for row, name in enumerate(reversed(present)):
        these = [each for each in timeline.decisions if each.layer == name]
        times = np.array([each.at_s for each in these])
        fell = np.array([each.fallback is not None for each in these], bool)
        if len(times):
            axes.scatter(times[~fell], np.full((~fell).sum(), row), 60, marker="|", color=COLOURS[row])
            axes.scatter(times[fell], np.full(fell.sum(), row), 30, marker="x", color="#d00000", zorder=3)
        axes.annotate(
            f"{timeline.decided[name]:,} decisions, {timeline.fallbacks.get(name, 0)} fallbacks",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            fontsize=7.5,
            va="center",
        )
    for each in _changes(timeline):
        axes.annotate(_short(each), (each.at_s, len(present) - 1), (3, 7), textcoords="offset points", fontsize=7)
    axes.set_yticks(range(len(present)), [_with_period(timeline, name) for name in reversed(present)])
    axes.set_ylim(-0.6, len(present) - 0.2)
    axes.set_title("Decisions by granularity (slots and symbols: one of each sample is drawn)", fontsize=9)


def _changes(timeline: Timeline) -> list[LayerDecision]:
    """Decisions of the slowest layer that changed something, the first one included."""
    found: list[LayerDecision] = []
    for each in timeline.decisions:
        if each.layer == "band" and (not found or _short(found[-1]) != _short(each)):
            found.append(each)
    return found[:8]


def _short(decision: LayerDecision) -> str:
    served = getattr(decision.setting, "served", {})
    share = 100 * sum(service.air_share for service in served.values())
    return f"{len(served)} sensed, {share:.0f} %"


def _with_period(timeline: Timeline, name: str) -> str:
    each = next(decision for decision in timeline.decisions if decision.layer == name)
    period = each.until_s - each.at_s
    return f"{name} ({period:.3g} s)" if period >= 1 else f"{name} ({1e3 * period:.3g} ms)"


def _stacked(axes: Any, timeline: Timeline, values: Any, names: tuple[str, ...], label: str) -> None:
    if len(names):
        colours = [COLOURS[number % 8] for number in range(len(names))]
        axes.stackplot(timeline.times_s, values.T, labels=names, colors=colours, alpha=0.85, linewidth=0)
    axes.set_ylabel(label)


def _verdicts(axes: Any, timeline: Timeline) -> None:
    """Refresh intervals by target: met or missed."""
    for row, name in enumerate(timeline.targets):
        for met, colour in ((True, "#009E73"), (False, "#d00000")):
            times = [each.begin_s for each in timeline.verdicts if each.target == name and each.met == met]
            axes.scatter(times, [row] * len(times), 22, marker="s", color=colour)
    axes.set_yticks(range(len(timeline.targets)), timeline.targets, fontsize=7.5)
    axes.set_ylim(-0.7, max(len(timeline.targets) - 0.3, 0.7))
    axes.set_title(f"Refresh intervals: needs met (green) in {100 * timeline.satisfaction:.0f} %", fontsize=9)
