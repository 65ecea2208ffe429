"""What several granularities are worth: sensing's satisfaction at equal rate, on a moving scenario.

Run: ``python -m benchmarks.isac_granularity``.

One cell (3.5 GHz, 36 MHz, 16 antennas, 1 W) serves six users whose links follow recorded bandwidth traces (HSDPA in
Norwegian trams, trains, buses and cars; made ones where ``FAIRLEAD_DATA`` has none) over fading channels, and senses
eight targets that drive, walk and fly. A refresh interval of a target is satisfied if the looks in it have the energy
for a position within 1 m (95 %), the extent that 0.5 m/s needs, and no gap that makes velocity ambiguous.

Each policy has one knob: what a satisfied interval is worth in bits. Turned up, it senses more and carries less. Each
seed (paths, fading, traces) gives each policy a curve of satisfaction over rate; policies are compared at the same rate
on these curves, in pairs on the same seed. Intervals are 95 % by Student's t over seeds.

- multi-granularity: band (1 s), cell (50 ms), slot (0.5 ms) and symbol layers.
- slot: everything in the slot, myopic: a look is sent if what it adds now is worth more than the data it replaces.
- slot-paced: everything in the slot, but looks keep pace with the interval's time; it is decided as an interval begins.
- coarse: everything at 50 ms and 1 s: looks as planned, data by average channels.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.options import Options, parse
from benchmarks.results_file import Row
from fairlead_isac.simulation.pictures import draw_layers
from fairlead_isac.simulation.policies import Policy
from fairlead_isac.simulation.run import simulate
from fairlead_isac.simulation.scenario import street
from fairlead_isac.simulation.timeline import Timeline
from fairlead_isac.simulation.traces import RateTrace, available_traces
from fairlead_kernels import backend

F64 = NDArray[np.float64]

PROMISE = (
    "Multi-granularity against single-granularity scheduling on a moving scenario (bandwidth and mobility traces): the "
    "gain in sensing-QoS satisfaction at equal rate, with confidence intervals and an explanation, whatever its sign."
)
MULTI = "multi-granularity"
SINGLE = ("slot", "slot-paced", "coarse")
#: Worth of a satisfied interval in bits.
KNOB = (3e4, 8e4, 2.5e5, 8e5, 3e6)
#: Rates at which policies are compared, as shares of what multi-granularity carries without sensing.
RATES = (0.98, 0.95, 0.9, 0.75)
#: Of Student's t: two-sided 95 % by degrees of freedom; beyond the table the normal one is near enough.
STUDENT = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 9: 2.262, 11: 2.201, 15: 2.131, 19: 2.093}


@dataclass(frozen=True, slots=True)
class Point:
    """One run: a policy, its knob, and what it came to."""

    policy: str
    worth_bits: float
    rate: float
    satisfaction: float
    overhead: float
    missed: dict[str, int]


def run_seed(seed: int, seconds: float, traces: Sequence[RateTrace], knob: Sequence[float]) -> list[Point]:
    """All policies and knobs of one seed."""
    scenario = street(seed, seconds + 10.0, list(traces))
    points = []
    for policy in (MULTI, *SINGLE):
        for worth in (0.0, *knob):
            rng = np.random.default_rng([seed, 7])
            points.append(_point(worth, simulate(scenario, Policy(policy, worth), seconds, rng)))
    return points


def _point(worth: float, timeline: Timeline) -> Point:
    kpis = timeline.kpis()
    return Point(
        timeline.policy,
        worth,
        kpis["sum_rate_bits_per_s"],
        kpis["sensing_satisfaction"],
        kpis["sensing_overhead"],
        timeline.missed(),
    )


def at_rate(points: Sequence[Point], policy: str, rate: float) -> float:
    """A policy's satisfaction at a rate: the upper hull of its points, between which it may share time; 0: too fast."""
    found = sorted(((each.rate, each.satisfaction) for each in points if each.policy == policy), reverse=True)
    hull: list[tuple[float, float]] = []
    for x, y in found:
        while len(hull) > 1 and _below(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    best = 0.0
    for (x1, y1), (x2, y2) in pairwise(hull):
        if x2 <= rate <= x1:
            best = max(best, y2 + (rate - x2) / (x1 - x2) * (y1 - y2) if x1 > x2 else max(y1, y2))
    slower = [y for x, y in found if x >= rate]
    return max([best, *slower])


def _below(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    """Whether ``middle`` lies on or below the line between the others; rates fall from first to last."""
    return (first[0] - last[0]) * (middle[1] - first[1]) <= (first[0] - middle[0]) * (last[1] - first[1])


def interval(values: F64) -> tuple[float, float, float]:
    """Mean and its 95 % confidence interval."""
    mean = float(values.mean())
    if len(values) < 3:
        return mean, -math.inf, math.inf
    free = len(values) - 1
    student = STUDENT[max(known for known in STUDENT if known <= free)]
    half = student * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def rows_of(seeds: Sequence[Sequence[Point]]) -> list[Row]:
    """Comparisons at equal rates, then what each policy did at its knobs."""
    rows = []
    for share in RATES:
        limits = [share * _free_rate(points, MULTI) for points in seeds]
        ours = np.array([at_rate(points, MULTI, limit) for points, limit in zip(seeds, limits, strict=True)])
        for single in SINGLE:
            theirs = np.array([at_rate(points, single, limit) for points, limit in zip(seeds, limits, strict=True)])
            rows.append(_comparison(share, single, ours, theirs))
    rows += [_cost(seeds, policy) for policy in SINGLE]
    return rows + [_knob(seeds, policy, worth) for policy in (MULTI, *SINGLE) for worth in KNOB]


def _free_rate(points: Sequence[Point], policy: str) -> float:
    return max(each.rate for each in points if each.policy == policy)


def _comparison(share: float, single: str, ours: F64, theirs: F64) -> Row:
    mean, low, high = interval(ours - theirs)
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True) if other > 0.0]
    said = f"gain {100 * mean:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f} over {len(ours)} seeds"
    return Row(
        case=f"{MULTI} against {single}, both at {100 * share:g} % of the rate without sensing",
        metric="refresh intervals in which all needs are met",
        unit="share",
        ours=float(ours.mean()),
        peer=float(theirs.mean()),
        ratio=float(np.median(ratios)) if ratios else None,
        ratio_min=min(ratios, default=None),
        ratio_max=max(ratios, default=None),
        target=PROMISE,
        holds=bool(np.isfinite([low, high]).all()),
        note=f"{said}; {WHY[single]}",
    )


#: Why, by what the runs' missed needs and overheads say (rows below).
WHY = {
    "slot": "a slot by itself sees no worth in a look that only adds extent until much time has passed, and pays for "
    "looks of intervals that are never completed: resolution and ambiguity are what it misses",
    "slot-paced": "pacing is a plan over the interval in all but name; what is left is when to look within it "
    "(cheap slots) and the count of looks, against finer groups",
    "coarse": "the same plan of looks, but data by average channels loses the diversity of users and blocks, so that "
    "it reaches this rate with less sensing or not at all",
}


def _cost(seeds: Sequence[Sequence[Point]], policy: str) -> Row:
    """What a policy carries without sensing, against all granularities."""
    shares = np.array([_free_rate(points, policy) / _free_rate(points, MULTI) for points in seeds])
    mean, low, high = interval(shares)
    return Row(
        case=f"{policy} against {MULTI}, nothing sensed",
        metric="rate",
        unit="share",
        ours=mean,
        note=f"95 % interval {low:.3f} to {high:.3f}",
    )


def _knob(seeds: Sequence[Sequence[Point]], policy: str, worth: float) -> Row:
    """One point of the curve, averaged over seeds."""
    found = [each for points in seeds for each in points if each.policy == policy and each.worth_bits == worth]
    rates = [each.rate / _free_rate(points, MULTI) for each, points in zip(found, seeds, strict=True)]
    missed: dict[str, int] = {}
    for each in found:
        for need, count in each.missed.items():
            missed[need] = missed.get(need, 0) + count
    listed = ", ".join(f"{need} {count}" for need, count in sorted(missed.items(), key=lambda item: -item[1]))
    overhead = 100 * np.mean([each.overhead for each in found])
    return Row(
        case=f"{policy}, an interval is worth {worth / 1e3:g} kbit",
        metric="refresh intervals in which all needs are met",
        unit="share",
        ours=float(np.mean([each.satisfaction for each in found])),
        note=f"rate {100 * np.mean(rates):.1f} % of that without sensing, {overhead:.1f} % of time sensed; "
        f"missed: {listed or 'nothing'}",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all seeds, compare, write."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--seconds", type=float, default=3.0, help="simulated, of each run")
    more.add_argument("--plot", type=Path, default=None, help="write the curves there, as a picture")
    more.add_argument("--layers", type=Path, default=None, help="write what the layers of one run decide there, too")
    options = parse("isac_granularity", __doc__, repeats=12, quick=1, arguments=arguments, more=more)
    seconds = 0.5 if options.quick else options.more.seconds
    traces = available_traces(6 * options.repeats, seconds, np.random.default_rng(options.seed))
    groups = [[traces[(6 * number + at) % len(traces)] for at in range(6)] for number in range(options.repeats)]
    seeds = [options.seed + number for number in range(options.repeats)]
    with ProcessPoolExecutor(max_workers=min(len(seeds), len(os.sched_getaffinity(0)))) as pool:
        found = list(pool.map(partial(_run, seconds=seconds, knob=KNOB), seeds, groups))
    if options.more.plot is not None:
        draw(found, options.more.plot)
    if options.more.layers is not None:
        draw_one(options.more.layers)
    options.finish(_conditions(options, seconds, traces), rows_of(found))


def _run(seed: int, traces: Sequence[RateTrace], seconds: float, knob: Sequence[float]) -> list[Point]:
    points = run_seed(seed, seconds, traces, knob)
    print(f"seed {seed}: {len(points)} runs", flush=True)
    return points


def _conditions(options: Options, seconds: float, traces: Sequence[RateTrace]) -> dict[str, object]:
    return {
        "seconds": seconds,
        "seeds": options.repeats,
        "traces": f"{len(traces)}: {traces[0].name} ... {traces[-1].name}",
        "mobility": "users and walkers by random waypoints, vehicles along a road; 8 m/s for fading",
        "targets": "8: vehicles 10 m^2, walkers 0.5 m^2, drones 0.02 m^2, within 300 to 400 m",
        "needs": "position 1 m (95 %), velocity resolution 0.5 m/s, refresh 0.1 s, detection 98 % at 1e-6",
        "scheduler": f"proportional fairness by the dual ({backend().name}), the same for all policies",
    }


def draw_one(path: Path) -> None:
    """Eight seconds of all layers, with a worth at which two drones are served and shed as they come and go."""
    traces = available_traces(12, 8.0, np.random.default_rng(0))
    timeline = simulate(street(5, 20.0, traces), Policy(MULTI, 3e5), 8.0, np.random.default_rng(5), sample_s=0.1)
    draw_layers(timeline, path)


def draw(seeds: Sequence[Sequence[Point]], path: Path) -> None:
    """Curves of all policies, averaged over seeds at equal rates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shares = np.linspace(0.6, 1.0, 41)
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for policy in (MULTI, *SINGLE):
        curves = np.array(
            [[at_rate(points, policy, share * _free_rate(points, MULTI)) for share in shares] for points in seeds]
        )
        axes.plot(100 * shares, 100 * curves.mean(0), label=policy)
        if len(curves) > 2:
            bounds = np.array([interval(column) for column in curves.T])
            axes.fill_between(100 * shares, 100 * bounds[:, 1], 100 * bounds[:, 2], alpha=0.15)
    axes.set(xlabel="rate, % of that without sensing", ylabel="refresh intervals satisfied, %", ylim=(0, 102))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
