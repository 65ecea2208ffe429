"""Scales a trace so that memory and not computation is short: load below a limit, demand above capacity.

As it stands the Azure code trace has long prompts and short answers, so that prefill bounds it and memory cannot help.
Prompts are shortened and requests thinned by fixed factors; answers are made longer until the demand for keys and
values in the burst is as many times the capacity as wanted. The same demand of fewer and longer requests waits longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.serving.simulation import Speed, compute_load, simulate, spread
from benchmarks.serving.traces import Arrival
from fairlead_elastic_serving.load.scaling import Scale, scaled

__all__ = ["Fit", "Scale", "busiest", "chosen", "judged", "scaled"]

MOST_LOAD, LEAST_DEMAND = 0.70, 1.5
_HALVINGS = 8


@dataclass(frozen=True, slots=True)
class Fit:
    """What a scale comes to.

    Attributes:
        load: share of the computation in the busiest time (below 1: it can be served).
        peak: most tokens that running and waiting requests have at one time, on all instances, memory unlimited.
        demand: peak / capacity.
    """

    scale: Scale
    load: float
    peak: int
    demand: float

    @property
    def fits(self) -> bool:
        """Whether memory is short and computation is not."""
        return self.load < MOST_LOAD and self.demand > LEAST_DEMAND


def judged(arrivals: Sequence[Arrival], scale: Scale, speed: Speed, instances: int, capacity: int, seed: int) -> Fit:
    """What a scale comes to on so many instances that hold ``capacity`` tokens together."""
    chosen = scaled(arrivals, scale, seed)
    load = busiest(chosen, speed, instances)
    dealt = spread(chosen, instances)
    # Peaks of instances fall together, as requests are dealt out in turn.
    peak = sum(simulate(part, speed).peak for part in dealt)
    return Fit(scale, load, peak, peak / capacity)


def busiest(arrivals: Sequence[Arrival], speed: Speed, instances: int, span_s: float = 30.0, batch: int = 16) -> float:
    """The load of the busiest ``span_s`` seconds."""
    starts = range(0, max(1, int(arrivals[-1].at_s)), 5)
    parts = ([item for item in arrivals if start <= item.at_s < start + span_s] for start in starts)
    return max(compute_load(part, speed, span_s, instances, batch) for part in parts)


def chosen(
    arrivals: Sequence[Arrival], speed: Speed, instances: int, capacity: int, seed: int, *,
    prompt: float, kept: float, most_tokens: int, wanted: float,
) -> Fit:  # fmt: skip
    """The length of answers at which the burst's demand is as many times the capacity as wanted.

    Args:
        arrivals: of the window.
        speed: of an instance.
        instances: that serve it.
        capacity: tokens that all of them hold without dropping.
        seed: of thinning.
        prompt: factor of prompts.
        kept: share of the requests.
        most_tokens: of a prompt and of an answer, each.
        wanted: demand over capacity, above `LEAST_DEMAND`.

    Raises:
        ValueError: computation is short before memory is; what the nearest scale comes to is said.
    """
    low, high = 0.5, 0.5

    def at(answer: float) -> Fit:
        return judged(arrivals, Scale(prompt, answer, kept, most_tokens), speed, instances, capacity, seed)

    while (fit := at(high)).demand < wanted and fit.load < MOST_LOAD:
        low, high = high, high * 2
    if fit.demand < wanted:
        raise ValueError(
            f"no scale reaches a demand of {wanted:g} times the capacity of {capacity} tokens at a load below "
            f"{MOST_LOAD}: {fit}; accepted: less memory, fewer requests or a faster machine"
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = at(middle)
        low, high = (low, middle) if found.demand >= wanted else (middle, high)
        # The peak is one moment's, and so no smooth function of the lengths.
        if abs(found.demand - wanted) < abs(fit.demand - wanted) and found.fits:
            fit = found
    if not fit.fits:
        raise ValueError(f"{fit}: accepted: load below {MOST_LOAD}, demand above {LEAST_DEMAND}")
    return fit
