"""Trains the predictors of a model: a hidden size for each network, gated by recall, then by perplexity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...bundle import NetworkName
from ..model import FloatArray, ToolModel, is_sparse, wide
from ..networks import Routed
from ..perplexity.modes import Predicted, layer_choices
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
    """The gates: share of what fires that must be found, and by which share perplexity may rise.

    An expert with fewer tokens than `fewest_samples` to learn from, or an eighth of that to calibrate on, gets no
    predictor: its neurons' habits are not known well enough to leave any out.
    """

    weighted_recall: float = 0.99
    perplexity_rise: float = 0.005
    fewest_samples: int = 256


@dataclass(frozen=True, slots=True)
class Trained:
    """A network's predictor, and the hidden sizes that were tried with the weights each reads, relative to exact mode.

    `samples` are the tokens that it learned from and was calibrated on.
    """

    predictor: Predictor
    tried: dict[int, float]
    samples: tuple[int, int]


def require_zeros(model: ToolModel) -> None:
    """Raise ValueError for a model whose neurons never are exactly zero: there is nothing to predict."""
    if not is_sparse(model.config):
        raise ValueError(
            f"{model.path}: activation {model.config.activation}: accepted: drelu, relu; "
            "`fairlead sparse threshold` and `drelufy` are for other models"
        )


def train_layers(
    model: ToolModel,
    inputs: Sequence[FloatArray],
    held_inputs: Sequence[FloatArray],
    wanted: Wanted,
    recipe: Recipe,
    use_torch: bool,
    say: Callable[[str], None],
    advance: Callable[..., None],
) -> dict[str, Trained]:
    """Train the predictors of all networks on captured inputs; `advance` is called after each layer.

    Raises ValueError where every expert has too few tokens.
    """
    made: dict[str, Trained] = {}
    for layer, (ours, theirs) in enumerate(zip(inputs, held_inputs, strict=True)):
        pairs = zip(examples(model, layer, ours), examples(model, layer, theirs), strict=True)
        for (network, data), (_, held) in pairs:
            reason = too_few(network.name, data, held, wanted)
            if reason is not None:
                say(reason)
                continue
            made[str(network.name)] = train_network(network, data, held, wanted, recipe, use_torch)
        advance(f"layer {layer}")
    if not made:
        raise ValueError(
            f"{model.path}: no network has {wanted.fewest_samples} tokens to learn from; accepted: more text "
            "(--tokens, --held-tokens), or a smaller --fewest-samples"
        )
    return made


def too_few(name: NetworkName, data: Examples, held: Examples, wanted: Wanted) -> str | None:
    """Return why a network gets no predictor, or None."""
    counts, least = (len(data.inputs), len(held.inputs)), (wanted.fewest_samples, -(-wanted.fewest_samples // 8))
    if name.expert is None or (counts[0] >= least[0] and counts[1] >= least[1]):
        return None
    return (
        f"{name}: {counts[0]} tokens to learn from, {counts[1]} to calibrate on; accepted: {least[0]} and {least[1]} "
        "or more: it has no predictor and stays exact"
    )


def train_network(
    network: Routed, data: Examples, held: Examples, wanted: Wanted, recipe: Recipe, use_torch: bool
) -> Trained:
    """Train predictors of growing hidden size and keep the one with which the fewest weights are read."""
    gate, name = wide(network.first_matrix), network.name
    hidden, neurons, samples = gate.shape[1], name.neurons, (len(data.inputs), len(held.inputs))
    fires = data.fires.mean(axis=0)
    rank = first_rank(neurons, hidden, float(fires.mean()), gini(fires))
    best: Predictor | None = None
    tried: dict[int, float] = {}
    own = () if name.expert is None and not name.shared else (network.first,)
    while True:
        random = np.random.default_rng((recipe.seed, name.layer, rank, *own))
        start = from_weights(gate, rank, random)
        if network.first_bias is not None:
            start = replace(start, bias=network.first_bias.astype(np.float32))
        fitted = fit(start, data, recipe, use_torch).rounded()
        fitted = calibrated(fitted, held, wanted.weighted_recall)
        cost = relative_cost(fitted, quality(fitted, held), hidden, neurons, network.others)
        if best is not None and cost > _WORTH * min(tried.values()):
            tried[rank] = round(cost, 4)
            return Trained(best, tried, samples)
        best, tried[rank] = fitted, round(cost, 4)
        if rank == most_rank(hidden):
            return Trained(best, tried, samples)
        rank = min(2 * rank, most_rank(hidden))


def gated(
    model: ToolModel,
    predictors: Mapping[str, Predictor],
    held_inputs: Sequence[FloatArray],
    rows: NDArray[np.int64],
    wanted: Wanted,
    say: Callable[[str], None],
) -> tuple[dict[str, Predictor], float, float, bool]:
    """Lower thresholds until perplexity rises by less than is allowed.

    Returns the predictors, the recall that they were calibrated for, the rise that is left, and whether it is allowed.
    """
    exact, recall = score(model, rows), wanted.weighted_recall
    chosen = dict(predictors)
    rise = 0.0
    for _ in range(_TIGHTENINGS):
        rise, _error = score(model, rows, Predicted(model.graph, layer_choices(model.graph, chosen))).moved_from(exact)
        say(f"at a weighted recall of {recall:.2%} validation perplexity rises by {rise:.3%}")
        if rise <= wanted.perplexity_rise:
            return chosen, recall, rise, True
        recall = 1 - (1 - recall) / 2
        chosen = {
            name: calibrated(chosen[name], held, recall) for name, held in _of(model, held_inputs) if name in chosen
        }
    return chosen, recall, rise, False


def _of(model: ToolModel, inputs: Sequence[FloatArray]) -> Iterator[tuple[str, Examples]]:
    for layer, part in enumerate(inputs):
        for network, found in examples(model, layer, part):
            yield str(network.name), found


def verdict(
    model: ToolModel, predictors: Mapping[str, Predictor], inputs: Sequence[FloatArray], rows: NDArray[np.int64]
) -> tuple[dict[str, Quality], Score, Score]:
    """Measure predictors on text that decided nothing: quality by network that got a token, and both scores."""
    qualities = {
        name: quality(predictors[name], found)
        for name, found in _of(model, inputs)
        if name in predictors and len(found.inputs)
    }
    choices = layer_choices(model.graph, predictors)
    return qualities, score(model, rows), score(model, rows, Predicted(model.graph, choices))


def network_records(
    model: ToolModel, trained: Mapping[str, Trained], qualities: Mapping[str, Quality]
) -> list[dict[str, Any]]:
    """Return each network's numbers for the report; one that the test text never used has those of training only."""
    hidden, records = model.config.hidden_size, list[dict[str, Any]]()
    for name, item in trained.items():
        record: dict[str, Any] = {
            "network": name,
            "samples": list(item.samples),
            "rank": item.predictor.rank,
            "tried": {str(rank): cost for rank, cost in item.tried.items()},
        }
        measured = qualities.get(name)
        if measured is not None:
            others = 1 if model.config.ffn == "plain" else 2
            cost = relative_cost(item.predictor, measured, hidden, item.predictor.b.shape[0], others)
            record["relative_cost"] = round(cost, 4)
            record |= {key: round(value, 5) for key, value in asdict(measured).items()}
        records.append(record)
    return records
