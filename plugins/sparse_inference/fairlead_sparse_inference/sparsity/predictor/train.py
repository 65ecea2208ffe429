"""Trains the predictors of a model: a hidden size for each layer, gated by recall, then by perplexity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model import FloatArray, ToolModel, is_sparse, require_gates, wide
from ..perplexity.modes import Predicted
from ..perplexity.score import Score, score
from ..profile.statistics import gini
from .calibrate import Quality, calibrated, quality, relative_cost
from .examples import Examples, examples
from .fit import Recipe, fit
from .network import Predictor, first_rank, from_weights, most_rank

#: A larger hidden size is kept where it saves at least this share of the weights that are read.
_WORTH = 0.98
_TIGHTENINGS = 6


@dataclass(frozen=True, slots=True)
class Wanted:
    """The gates: share of what fires that must be found, and by which share perplexity may rise."""

    weighted_recall: float = 0.99
    perplexity_rise: float = 0.005


@dataclass(frozen=True, slots=True)
class Trained:
    """A layer's predictor, and the hidden sizes that were tried with the weights each reads, relative to exact mode."""

    predictor: Predictor
    tried: dict[int, float]


def require_zeros(model: ToolModel) -> None:
    """Raise ValueError for a model whose neurons never are exactly zero: there is nothing to predict."""
    if not is_sparse(model.config):
        raise ValueError(
            f"{model.path}: activation {model.config.activation}: accepted: drelu, relu; "
            "`fairlead sparse threshold` and `drelufy` are for other models"
        )
    require_gates(model)


def train_layer(
    model: ToolModel, layer: int, data: Examples, held: Examples, wanted: Wanted, recipe: Recipe, use_torch: bool
) -> Trained:
    """Train predictors of growing hidden size and keep the one with which the fewest weights are read."""
    hidden, neurons = model.config.hidden_size, model.config.intermediate_size
    fires = data.fires.mean(axis=0)
    rank = first_rank(neurons, hidden, float(fires.mean()), gini(fires))
    gate = wide(model.graph.weights.layers[layer].gate)
    best: Predictor | None = None
    tried: dict[int, float] = {}
    while True:
        random = np.random.default_rng((recipe.seed, layer, rank))
        fitted = fit(from_weights(gate, rank, random), data, recipe, use_torch).rounded()
        fitted = calibrated(fitted, held, wanted.weighted_recall)
        cost = relative_cost(fitted, quality(fitted, held), hidden, neurons)
        if best is not None and cost > _WORTH * min(tried.values()):
            tried[rank] = round(cost, 4)
            return Trained(best, tried)
        best, tried[rank] = fitted, round(cost, 4)
        if rank == most_rank(hidden):
            return Trained(best, tried)
        rank = min(2 * rank, most_rank(hidden))


def gated(
    model: ToolModel,
    predictors: Sequence[Predictor],
    held_inputs: Sequence[FloatArray],
    rows: NDArray[np.int64],
    wanted: Wanted,
    say: Callable[[str], None],
) -> tuple[list[Predictor], float, float, bool]:
    """Lower thresholds until perplexity rises by less than is allowed.

    Returns the predictors, the recall that they were calibrated for, the rise that is left, and whether it is allowed.
    """
    exact, recall = score(model, rows), wanted.weighted_recall
    chosen = list(predictors)
    rise = 0.0
    for _ in range(_TIGHTENINGS):
        rise, _error = score(model, rows, Predicted(model.graph, chosen)).moved_from(exact)
        say(f"at a weighted recall of {recall:.2%} validation perplexity rises by {rise:.3%}")
        if rise <= wanted.perplexity_rise:
            return chosen, recall, rise, True
        recall = 1 - (1 - recall) / 2
        held = (examples(model, layer, inputs) for layer, inputs in enumerate(held_inputs))
        chosen = [calibrated(predictor, part, recall) for predictor, part in zip(chosen, held, strict=True)]
    return chosen, recall, rise, False


def verdict(
    model: ToolModel, predictors: Sequence[Predictor], inputs: Sequence[FloatArray], rows: NDArray[np.int64]
) -> tuple[list[Quality], Score, Score]:
    """Measure predictors on text that decided nothing: quality by layer, exact and predicted score."""
    qualities = [
        quality(predictor, examples(model, layer, part))
        for layer, (predictor, part) in enumerate(zip(predictors, inputs, strict=True))
    ]
    return qualities, score(model, rows), score(model, rows, Predicted(model.graph, predictors))


def layer_records(model: ToolModel, trained: Sequence[Trained], qualities: Sequence[Quality]) -> list[dict[str, Any]]:
    """Return each layer's numbers for the report."""
    hidden, neurons = model.config.hidden_size, model.config.intermediate_size
    return [
        {
            "rank": item.predictor.rank,
            "tried": {str(rank): cost for rank, cost in item.tried.items()},
            "relative_cost": round(relative_cost(item.predictor, measured, hidden, neurons), 4),
            **{name: round(value, 5) for name, value in asdict(measured).items()},
        }
        for item, measured in zip(trained, qualities, strict=True)
    ]


def with_predictors(trained: Sequence[Trained], predictors: Sequence[Predictor]) -> list[Trained]:
    """Return the same records with recalibrated predictors."""
    return [replace(item, predictor=predictor) for item, predictor in zip(trained, predictors, strict=True)]
