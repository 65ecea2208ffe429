"""The cost model of steps, fitted to what an engine's steps took: some batches fit it, others judge it.

A single step takes as long as the machine lets it, which no model of its work can know, and is only ever made longer by
what else the machine does. So batches are computed in several rounds, and the lower quartile of steps of one kind
stands for them; how far single steps are from both is told as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.serving.instances import Instances, Replayed
from benchmarks.serving.replay import Asked
from fairlead_elastic_serving.planning.cost_model import Chunk, CostModel, fit

Steps = Sequence[tuple[Sequence[Chunk], float]]
#: A step of at least so many tokens is counted as one of prefill.
PREFILL_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted model and how far it is from steps that it has not seen.

    Attributes:
        cost: fitted to one half of the steps.
        steps: that it was not fitted to, or kinds of them.
        error: mean relative error over them; of kinds each counts as often as it came.
        total_error: of their sum.
        prefill_error: mean relative error over those of `PREFILL_TOKENS` and more; None: there were none.
        by_tokens_error: of the best model that knows tokens alone.
        single_error: mean relative error of single steps, where ``steps`` are kinds; else None.
        spread: mean relative distance of single steps from what stands for their kind.
        noise: by how much kinds that judge differ between the first and the second half of the rounds: the same work at
            another time. No model can be expected to be nearer.
        processor_error, processor_noise: the same of the time for which the engine's thread computed, so that what else
            the machine does is not in it; None: it was not told.
    """

    cost: CostModel
    steps: int
    error: float
    total_error: float
    prefill_error: float | None
    by_tokens_error: float
    single_error: float | None = None
    spread: float = 0.0
    noise: float = 0.0
    processor_error: float | None = None
    processor_noise: float | None = None

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Calibration:
        """From a file."""
        return cls(**{**content, "cost": CostModel(**content["cost"])})


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
    )


#: Sequences, tokens of their prompts and of their answers: what the model is fitted to, and what judges it.
SEEN = ((1, 16, 48), (2, 64, 48), (4, 32, 40), (6, 128, 24), (8, 24, 40), (12, 48, 24), (16, 60, 20), (1, 250, 32))
UNSEEN = ((1, 64, 48), (3, 40, 48), (5, 96, 32), (7, 16, 40), (10, 32, 32), (14, 24, 24), (1, 160, 32))
_BATCH_S, _LEAST = 0.4, 3


def measure(instances: Instances, *, rounds: int = 8) -> Calibration:
    """Fit to all instances at once, by rounds of batches in turn; the first round warms up.

    Batches that fit and batches that judge alternate within a round and change places from one to the next, so that a
    machine that grows slower or faster meanwhile is no error of the model.
    """
    taken = [0] * len(instances.ready)
    found: dict[str, list[tuple[list[Chunk], float]]] = {"seen": [], "unseen": []}
    computed: dict[str, list[tuple[list[Chunk], float]]] = {"seen": [], "unseen": []}
    for turn in range(rounds + 1):
        for name, part, batches in _order(turn):
            replay = instances.open_loop(_batches(f"{name}{part}{turn}", batches, len(taken)))
            failed = [item.error for item in replay.served if item.error]
            if failed:
                raise RuntimeError(f"{len(failed)} requests failed: {failed[0]}")
            for place, told in enumerate(replay.told):
                steps = steps_of(Replayed([], [], [told]))
                new = steps[taken[place] :] if turn else []
                found[name] += new
                times = told["processor_s"][taken[place] :]
                computed[name] += [(chunks, own_s) for (chunks, _), own_s in zip(new, times, strict=False) if own_s > 0]
                taken[place] = len(steps)
    own = by_kind(computed["seen"], computed["unseen"])
    judgement = by_kind(found["seen"], found["unseen"])
    return replace(judgement, processor_error=own.error, processor_noise=own.noise)


def _order(turn: int) -> list[tuple[str, int, Sequence[tuple[int, int, int]]]]:
    """The replays of a round: whether they fit or judge, and half of the batches each."""
    halves = [(name, part, every[part::2]) for part in (0, 1) for name, every in (("seen", SEEN), ("unseen", UNSEEN))]
    return halves if turn % 2 else halves[::-1]


def by_kind(seen: Steps, unseen: Steps) -> Calibration:
    """Fit what is typical of kinds of steps and judge by what is of others."""
    fitted, judging = ([(chunks, typical) for chunks, typical, _ in _typical(part)] for part in (seen, unseen))
    found = judged(fitted, judging)
    spread = mean(abs(single / typical - 1) for _, typical, single in _typical(unseen))
    single = found.cost.error([(chunks, single) for chunks, _, single in _typical(unseen)])
    return replace(found, steps=len(_kinds(unseen)), single_error=single, spread=spread, noise=_noise(unseen))


def _noise(steps: Steps) -> float:
    """How far what stands for a kind in the second half of its steps is from that in the first, on average."""
    found: list[float] = []
    for kind in _kinds(steps):
        half = len(kind) // 2
        first, second = (np.percentile([seconds for _, seconds in part], 25) for part in (kind[:half], kind[half:]))
        found += [abs(float(first / second) - 1)] * len(kind)
    return mean(found) if found else 0.0


def _typical(steps: Steps) -> Iterator[tuple[Sequence[Chunk], float, float]]:
    """Each step of a kind that there are enough of: its chunks, what stands for the kind, and what it took itself."""
    for kind in _kinds(steps):
        typical = float(np.percentile([seconds for _, seconds in kind], 25))
        yield from ((chunks, typical, seconds) for chunks, seconds in kind)


def _kinds(steps: Steps) -> list[list[tuple[Sequence[Chunk], float]]]:
    """Steps of as many tokens in as many chunks and about as many stored ones, where there are enough of them."""
    found: dict[tuple[object, ...], list[tuple[Sequence[Chunk], float]]] = {}
    for chunks, seconds in steps:
        stored = sum(chunk.prefix for chunk in chunks)
        kind = (*sorted(chunk.tokens for chunk in chunks), -1 - stored // (16 * len(chunks)))
        found.setdefault(kind, []).append((chunks, seconds))
    return [kind for kind in found.values() if len(kind) >= _LEAST]


def _batches(name: str, batches: Sequence[tuple[int, int, int]], instances: int) -> list[Asked]:
    return [
        Asked(f"{name}-{place}-{index}", _BATCH_S * place, prompt, answer)
        for place, (count, prompt, answer) in enumerate(batches)
        for index in range(instances * count)
    ]


def _tokens(step: tuple[Sequence[Chunk], float]) -> int:
    return sum(chunk.tokens for chunk in step[0])


def _by_tokens(steps: Steps) -> CostModel:
    """Seconds by tokens alone, which is what schedulers usually count."""
    return CostModel(0.0, 1 / mean(_tokens(step) / step[1] for step in steps), 0.0)
