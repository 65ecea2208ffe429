"""The cost model of steps, fitted to what an engine's steps took: half of them fit it, the other half judge it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

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
        steps: in the other half.
        error: mean relative error over them.
        total_error: of their sum.
        prefill_error: mean relative error over those of `PREFILL_TOKENS` and more; None: there were none.
        by_tokens_error: of the best model that knows tokens alone.
    """

    cost: CostModel
    steps: int
    error: float
    total_error: float
    prefill_error: float | None
    by_tokens_error: float

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
    seen, unseen = steps[::2], steps[1::2]
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


def mixed_load(seed: int, count: int = 80, seconds: float = 20.0) -> list[Asked]:
    """Requests that give steps of many kinds: few and many sequences, short and long prompts."""
    drawn = random.Random(seed)
    times = sorted(seconds * drawn.random() ** 0.7 for _ in range(count))
    return [
        Asked(f"mixed-{index}", at, drawn.choice((8, 32, 64, 128, 256, 400)), drawn.choice((4, 16, 40, 80)))
        for index, at in enumerate(times)
    ]


def measure(instances: Instances, seed: int, *, seconds: float = 20.0) -> Calibration:
    """Fit to all instances under a mixed load; the first quarter of the steps warms up."""
    replay = instances.open_loop(mixed_load(seed, int(4 * seconds), seconds))
    failed = [item.error for item in replay.served if item.error]
    if failed:
        raise RuntimeError(f"{len(failed)} requests failed: {failed[0]}")
    parts = [steps_of(Replayed([], [], [told])) for told in replay.told]
    return calibrated([step for part in parts for step in part[len(part) // 4 :]])


def _tokens(step: tuple[Sequence[Chunk], float]) -> int:
    return sum(chunk.tokens for chunk in step[0])


def _by_tokens(steps: Steps) -> CostModel:
    """Seconds by tokens alone, which is what schedulers usually count."""
    return CostModel(0.0, 1 / mean(_tokens(step) / step[1] for step in steps), 0.0)
