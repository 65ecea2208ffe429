"""The cost model of steps, fitted to what an engine's steps took: some kinds of steps fit it, others judge it.

Then the others fit one, and the some judge that: each kind is judged once, by a model that has not seen it.

A single step takes as long as the machine lets it, which no model of its work can know. So batches are computed in many
rounds, and the median of steps of one kind stands for them, each kind once. How far repeated measurements of one kind
lie apart is told as well: an oracle that knew every kind by half of its steps would miss the other half by as much.

Twice: on one instance at a time, while the others rest, which is what a step takes on a device of its own and what the
model is judged by; and on all at once, which is what a burst finds where instances share a processor. There a step
takes up to twice as long while another instance computes, whatever its own work is, so that the lower quartile stands
for a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.serving.instances import Instances, Replayed
from benchmarks.serving.replay import Asked
from fairlead_elastic_serving.planning.cost_model import Chunk, CostModel, fit

Steps = Sequence[tuple[Sequence[Chunk], float]]
Kind = tuple[object, ...]
#: A step of at least so many tokens is counted as one of prefill.
PREFILL_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted model and how far it is from steps that it has not seen.

    Attributes:
        cost: fitted to some steps.
        steps: that it, or the model that was fitted to the others, was not fitted to; or kinds of them.
        error: mean relative error over them.
        total_error: of their sum.
        prefill_error: mean relative error over those of `PREFILL_TOKENS` and more; None: there were none.
        by_tokens_error: of the best model that knows tokens alone.
        prefill_steps: of `PREFILL_TOKENS` and more.
        folds: the error of the model that some kinds fit over the others, and the other way round; None: there is one.
        single_error: mean relative error of single steps, where ``steps`` are kinds; else None.
        spread: mean relative distance of single steps from what stands for their kind.
        floor: by how much what stands for a kind in every other round differs from that in the rest: what an oracle
            misses that knows each kind by as many measurements; steps of one round are alike by whatever else the
            machine does then.
        noise: the same of the first and the second half of the rounds: the same work at another time.
        processor_error, processor_noise: error and floor of the time for which the engine's thread computed, so that
            what else the machine does is not in it; None: it was not told.
        alone: the same of one instance at a time; None: it was not measured.
    """

    cost: CostModel
    steps: int
    error: float
    total_error: float
    prefill_error: float | None
    by_tokens_error: float
    prefill_steps: int = 0
    folds: tuple[float, float] | None = None
    single_error: float | None = None
    spread: float = 0.0
    floor: float = 0.0
    noise: float = 0.0
    processor_error: float | None = None
    processor_noise: float | None = None
    alone: Calibration | None = None

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Calibration:
        """From a file."""
        alone, folds = content.get("alone"), content.get("folds")
        return cls(
            **{
                **content,
                "cost": CostModel(**content["cost"]),
                "folds": None if folds is None else tuple(folds),
                "alone": None if alone is None else cls.from_json(alone),
            }
        )


def steps_of(replay: Replayed) -> list[tuple[list[Chunk], float]]:
    """The steps that our instances told, in order."""
    return [([Chunk(*chunk) for chunk in chunks], seconds) for told in replay.told for chunks, seconds in told["steps"]]


def calibrated(steps: Steps) -> Calibration:
    """Fit every other step and judge by the rest; raises ValueError for fewer than 8 steps."""
    if len(steps) < 8:
        raise ValueError(f"{len(steps)} steps: accepted: 8 and above")
    return judged(steps[::2], steps[1::2])


def judged(seen: Steps, unseen: Steps) -> Calibration:
    """Fit some steps and judge by others."""
    cost = fit(seen)
    long = [step for step in unseen if _tokens(step) >= PREFILL_TOKENS]
    return Calibration(
        cost,
        len(unseen),
        cost.error(unseen),
        abs(sum(cost.batch(chunks) for chunks, _ in unseen) / sum(seconds for _, seconds in unseen) - 1),
        cost.error(long) if long else None,
        _by_tokens(seen).error(unseen),
        len(long),
    )


@dataclass(frozen=True, slots=True)
class Load:
    """A batch: so many requests at once, and some that come while these are being answered.

    Attributes:
        requests, prompt, answer: how many, and tokens of each.
        later, later_prompt: of those that come `LATER_S` after them, for an answer of `LATER_TOKENS`.
    """

    requests: int
    prompt: int
    answer: int
    later: int = 0
    later_prompt: int = 0


#: What the model is fitted to, and what judges it.
SEEN = (
    *(Load(1, 16, 48), Load(2, 64, 48), Load(4, 32, 40), Load(6, 128, 24), Load(8, 24, 40), Load(12, 48, 24)),
    *(Load(16, 60, 20), Load(1, 250, 32), Load(4, 24, 40, 1, 100), Load(9, 40, 32, 2, 60)),
)
UNSEEN = (
    *(Load(1, 64, 48), Load(3, 40, 48), Load(5, 96, 32), Load(7, 16, 40), Load(10, 32, 32), Load(14, 24, 24)),
    *(Load(1, 160, 32), Load(6, 50, 40, 1, 140), Load(3, 30, 40, 2, 40)),
)
LATER_S, LATER_TOKENS = 0.05, 16
#: Between batches, where instances share a processor and where one has it to itself.
SHARED_S, ALONE_S = 0.4, 0.3
#: Percentiles that stand for a kind.
SHARED, ALONE = 25.0, 50.0
#: Steps without which a kind says nothing; at least as many as half of the rounds.
LEAST = 8
#: A warm round is left out.
WARM = 1
#: Chunks, seconds, and seconds for which the engine's thread computed.
Timed = tuple[list[Chunk], float, float]
#: Steps that fit and steps that judge, by round.
Told = dict[str, list[list[Timed]]]


def measure(instances: Instances, *, rounds: int = 8, rounds_alone: int = 32) -> Calibration:
    """Fit and judge, on all instances at once and on one at a time.

    Batches that fit and batches that judge change places from one round to the next, so that a machine that grows
    slower or faster meanwhile is no error of the model; so do the instances that compute alone.
    """
    meter = _Meter(instances)
    together = meter.rounds(rounds, lambda turn: None)
    alone = meter.rounds(rounds_alone, lambda turn: turn // 2 % len(instances.ready))
    return replace(_judgement(together, SHARED), alone=_judgement(alone, ALONE))


class _Meter:
    """Replays rounds of batches and takes what instances tell anew."""

    def __init__(self, instances: Instances) -> None:
        self._instances, self._taken = instances, [0] * len(instances.ready)
        self._replays = 0

    def rounds(self, number: int, place: Callable[[int], int | None]) -> Told:
        """The steps of rounds after a warm one, on the instance whose place is told for each of them; None: on all."""
        found: Told = {"seen": [], "unseen": []}
        for turn in range(number + WARM):
            order = [("seen", SEEN), ("unseen", UNSEEN)]
            for name, loads in order if turn % 2 else order[::-1]:
                new = self._replayed(loads, place(turn))
                found[name] += [new] if turn >= WARM else []
        return found

    def _replayed(self, loads: Sequence[Load], only: int | None) -> list[Timed]:
        self._replays += 1
        each = len(self._taken) if only is None else 1
        between_s = SHARED_S if only is None else ALONE_S
        replay = self._instances.open_loop(_requests(f"c{self._replays}", loads, each, between_s), only)
        failed = [item.error for item in replay.served if item.error]
        if failed:
            raise RuntimeError(f"{len(failed)} requests failed: {failed[0]}")
        new: list[Timed] = []
        for place, told in enumerate(replay.told) if only is None else [(only, replay.told[0])]:
            since, steps = self._taken[place], steps_of(Replayed([], [], [told]))
            self._taken[place] = len(steps)
            new += [(*step, own_s) for step, own_s in zip(steps[since:], told["processor_s"][since:], strict=False)]
        return new


def _judgement(told: Told, share: float) -> Calibration:
    found, computed = (_both_ways(told, which, share) for which in (1, 2))
    rounds = [[*some, *others] for some, others in zip_longest(told["seen"], told["unseen"], fillvalue=[])]
    floor, own = (
        _apart(_kinds(_taking(rounds[::2], which), least), _kinds(_taking(rounds[1::2], which), least), share)
        for which in (1, 2)
        for least in (max(2, len(rounds) // 4),)
    )
    return replace(found, floor=floor, processor_error=computed.error, processor_noise=own)


def _both_ways(told: Told, which: int, share: float) -> Calibration:
    """Judge the model that some kinds fit by the others, and the one that these fit by the first: each kind once."""
    seen, unseen = _taking(told["seen"], which), _taking(told["unseen"], which)
    least = max(LEAST, max(len(told["seen"]), len(told["unseen"])) // 2)
    judging = _kinds(unseen, least)
    return _joined(
        by_kind(seen, unseen, share, least),
        by_kind(unseen, [step for step in seen if _kind(step[0]) not in judging], share, least),
    )


def _joined(first: Calibration, second: Calibration) -> Calibration:
    """Two models' errors over the kinds of both, with the first model."""

    def over(some: float | None, others: float | None, steps: int, more: int) -> float | None:
        if some is None or others is None:
            return others if some is None else some
        return (some * steps + others * more) / (steps + more)

    names = ("error", "total_error", "by_tokens_error", "single_error", "spread", "noise")
    means = {name: over(getattr(first, name), getattr(second, name), first.steps, second.steps) for name in names}
    prefill = over(first.prefill_error, second.prefill_error, first.prefill_steps, second.prefill_steps)
    return replace(
        first,
        **means,
        steps=first.steps + second.steps,
        prefill_error=prefill,
        prefill_steps=first.prefill_steps + second.prefill_steps,
        folds=(first.error, second.error),
    )


def _taking(rounds: Sequence[Sequence[Timed]], which: int) -> list[tuple[list[Chunk], float]]:
    """The steps of rounds with what they took: on the clock (1) or of the processor (2), where that was told."""
    return [(step[0], step[which]) for new in rounds for step in new if step[which] > 0]


def by_kind(seen: Steps, unseen: Steps, share: float = ALONE, least: int = LEAST) -> Calibration:
    """Fit the medians, or another percentile, of kinds of steps and judge by those of other kinds, each once.

    A kind that judges fits nothing, should it have come among the batches that fit, too.
    """
    judging, fitting = _kinds(unseen, least), _kinds(seen, least)
    fitted = [_typical(steps, share) for kind, steps in fitting.items() if kind not in judging]
    found = judged(fitted, [_typical(steps, share) for steps in judging.values()])
    spread, single = list[float](), list[tuple[Sequence[Chunk], float]]()
    for steps in judging.values():
        typical = _typical(steps, share)[1]
        spread += [abs(seconds / typical - 1) for _, seconds in steps]
        single += steps
    first, second = ({kind: part(steps) for kind, steps in judging.items()} for part in (_first_half, _second_half))
    return replace(
        found,
        single_error=found.cost.error(single),
        spread=mean(spread),
        noise=_apart(first, second, share),
    )


def _first_half(steps: Steps) -> Steps:
    return steps[: len(steps) // 2]


def _second_half(steps: Steps) -> Steps:
    return steps[len(steps) // 2 :]


def _apart(some: Mapping[Kind, Steps], others: Mapping[Kind, Steps], share: float) -> float:
    """How far what stands for kinds in the one is from what stands for them in the other, on average."""
    both = [(some[kind], others[kind]) for kind in some.keys() & others.keys()]
    return mean(abs(_typical(one, share)[1] / _typical(other, share)[1] - 1) for one, other in both) if both else 0.0


def _typical(steps: Steps, share: float) -> tuple[Sequence[Chunk], float]:
    """What stands for steps of a kind: a percentile of their seconds; the chunks are those of a middling step."""
    middle = sorted((chunks for chunks, _ in steps), key=_stored)[len(steps) // 2]
    return middle, float(np.percentile([seconds for _, seconds in steps], share))


def _kinds(steps: Steps, least: int = LEAST) -> dict[Kind, list[tuple[Sequence[Chunk], float]]]:
    """Steps of as many tokens in as many chunks and about as many stored ones, where there are enough of them."""
    found: dict[Kind, list[tuple[Sequence[Chunk], float]]] = {}
    for chunks, seconds in steps:
        found.setdefault(_kind(chunks), []).append((chunks, seconds))
    return {kind: some for kind, some in found.items() if len(some) >= least}


def _kind(chunks: Sequence[Chunk]) -> Kind:
    return (*sorted(chunk.tokens for chunk in chunks), -1 - _stored(chunks) // (16 * len(chunks)))


def _stored(chunks: Sequence[Chunk]) -> int:
    return sum(chunk.prefix for chunk in chunks)


def _requests(name: str, loads: Sequence[Load], each: int, between_s: float) -> list[Asked]:
    """Requests of batches one after the other, so many times as many as are asked for: once for each instance."""
    return [
        Asked(f"{name}-{place}-{after_s:g}-{index}", between_s * place + after_s, prompt, answer)
        for place, load in enumerate(loads)
        for after_s, count, prompt, answer in (
            (0.0, load.requests, load.prompt, load.answer),
            (LATER_S, load.later, load.later_prompt, LATER_TOKENS),
        )
        for index in range(each * count)
    ]


def _tokens(step: tuple[Sequence[Chunk], float]) -> int:
    return sum(chunk.tokens for chunk in step[0])


def _by_tokens(steps: Steps) -> CostModel:
    """Seconds by tokens alone, which is what schedulers usually count."""
    return CostModel(0.0, 1 / mean(_tokens(step) / step[1] for step in steps), 0.0)
