"""The picture of a burst: who waited for the first token, and what there was for keys and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.serving.instances import Replayed

_SPAN_S = 2.0


def draw(replays: Mapping[str, Replayed], shown: Sequence[str], burst_s: tuple[float, float], file: Path) -> None:
    """Draw the replays of the systems ``shown``, in this order; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    first, memory = figure.subplots(2, 1, sharex=True)
    for index, name in enumerate(shown):
        times = [(item.due_s, item.ttft_s) for item in replays[name].served if item.at_s]
        first.scatter(*zip(*times, strict=True), s=7, color=f"C{index}", label=name, alpha=0.7, linewidths=0)
        at, capacity, held = totals(replays[name].gauges)
        memory.step(at, [value / 2**20 for value in capacity], color=f"C{index}", label=f"{name}: capacity")
        if any(held):
            memory.plot(at, [value / 2**20 for value in held], color=f"C{index}", linewidth=0.8, alpha=0.6)
    first.set(yscale="log", ylabel="time to first token (s)")
    memory.set(xlabel="seconds of the window", ylabel="keys and values (MiB)", ylim=(0, None))
    for axes in (first, memory):
        axes.axvspan(*burst_s, color="0.93", zorder=0)
        axes.legend(fontsize=7, loc="upper right")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def totals(gauges: Sequence[Sequence[Mapping[str, float]]]) -> tuple[list[float], list[float], list[float]]:
    """Times, capacity and held bytes of all instances together; the last known value of each counts."""
    moments = sorted((gauge["at_s"], index) for index, own in enumerate(gauges) for gauge in own)
    queues = [sorted(own, key=lambda gauge: gauge["at_s"]) for own in gauges]
    places = [0] * len(gauges)
    at, capacity, held = list[float](), list[float](), list[float]()
    for moment, index in moments:
        last = queues[index][places[index]]
        places[index] += 1
        current = [
            last if other == index else queues[other][max(0, place - 1)]
            for other, place in enumerate(places)
            if queues[other]
        ]
        at.append(moment)
        capacity.append(sum(gauge["capacity"] for gauge in current))
        held.append(sum(gauge.get("held", 0.0) for gauge in current))
    return at, capacity, held
