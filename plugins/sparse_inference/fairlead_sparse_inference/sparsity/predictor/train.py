"""Trains the predictors of a model: a hidden size for each network, and thresholds that spend a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...bundle import NetworkName, all_networks
from ..model import FloatArray, ToolModel, is_sparse, wide
from ..networks import Routed
from ..perplexity.compare import Comparison, Reference
from ..perplexity.modes import Predicted, layer_choices
from ..profile.statistics import gini
from .budget import spend
from .calibrate import Quality, calibrated, quality, relative_cost
from .examples import Examples, examples
from .file import read_predictors
from .fit import Recipe, fit
from .network import Predictor, first_rank, from_weights, most_rank

#: Hidden sizes are compared at this recall where the budget decides: about what it leaves.
_COMPARED_AT = 0.95
#: A larger hidden size is kept where it saves at least this share of the weights that are read.
_WORTH = 0.98
_TIGHTENINGS = 6


@dataclass(frozen=True, slots=True)
class Wanted:
    """By which share perplexity may rise, and, where it is asked for, the share of what fires that must be found.

    An expert with fewer tokens than `fewest_samples` to learn from, or an eighth of that to calibrate on, gets no
    predictor: its neurons' habits are not known well enough to leave any out.
    """

    perplexity_budget: float = 0.004
    weighted_recall: float | None = None
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


def trained_before(path: Path, model: ToolModel) -> dict[str, Trained]:
    """Read predictors of an earlier training, and what its report says of hidden sizes; raises PredictorError."""
    predictors, report = read_predictors(path, all_networks(model.config), model.config.hidden_size)
    known = {layer.get("network"): layer for layer in report.get("layers", [])}
    tried = {
        name: {int(rank): cost for rank, cost in known.get(name, {}).get("tried", {}).items()} for name in predictors
    }
    samples = {name: known.get(name, {}).get("samples", (0, 0)) for name in predictors}
    return {name: Trained(one, tried[name], (samples[name][0], samples[name][1])) for name, one in predictors.items()}


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
        fitted = calibrated(fitted, held, wanted.weighted_recall or _COMPARED_AT)
        cost = relative_cost(fitted, quality(fitted, held), hidden, neurons, network.others)
        if best is not None and cost > _WORTH * min(tried.values()):
            tried[rank] = round(cost, 4)
            return Trained(best, tried, samples)
        best, tried[rank] = fitted, round(cost, 4)
        if rank == most_rank(hidden):
            return Trained(best, tried, samples)
        rank = min(2 * rank, most_rank(hidden))


@dataclass(frozen=True, slots=True)
class Gated:
    """Predictors whose thresholds are set: what they cost on validation text, and whether that is allowed.

    `recall` is the one that they were calibrated for, None where the budget decided; `prices` as `Spent` has them.
    """

    predictors: dict[str, Predictor]
    recall: float | None
    cost: Comparison
    prices: list[float]
    allowed: bool


def gated(
    model: ToolModel,
    predictors: Mapping[str, Predictor],
    held_inputs: Sequence[FloatArray],
    reference: Reference,
    wanted: Wanted,
    say: Callable[[str], None],
) -> Gated:
    """Set thresholds that spend the budget, or those of the recall that is asked for."""
    if wanted.weighted_recall is None:
        spent = spend(model, predictors, held_inputs, reference, wanted.perplexity_budget, say)
        return Gated(spent.predictors, None, spent.cost, spent.prices, spent.allowed)
    return _by_recall(model, predictors, held_inputs, reference, wanted, say)


def _by_recall(
    model: ToolModel,
    predictors: Mapping[str, Predictor],
    held_inputs: Sequence[FloatArray],
    reference: Reference,
    wanted: Wanted,
    say: Callable[[str], None],
) -> Gated:
    """One recall for all networks, raised until perplexity rises by less than the budget."""
    assert wanted.weighted_recall is not None
    recall, chosen = wanted.weighted_recall, dict(predictors)
    for attempt in range(_TIGHTENINGS):
        if attempt:
            recall = 1 - (1 - recall) / 2
        held = _of(model, held_inputs)
        chosen |= {name: calibrated(chosen[name], found, recall) for name, found in held if name in chosen}
        (cost,) = reference.compare([Predicted(model.graph, layer_choices(model.graph, chosen))])
        say(f"at a weighted recall of {recall:.2%} validation perplexity rises by {cost.rise:.3%}")
        if cost.rise <= wanted.perplexity_budget:
            return Gated(chosen, recall, cost, [], True)
    return Gated(chosen, recall, cost, [], False)


def _of(model: ToolModel, inputs: Sequence[FloatArray]) -> Iterator[tuple[str, Examples]]:
    for layer, part in enumerate(inputs):
        for network, found in examples(model, layer, part):
            yield str(network.name), found


def verdict(
    model: ToolModel, predictors: Mapping[str, Predictor], inputs: Sequence[FloatArray], rows: NDArray[np.int64]
) -> tuple[dict[str, Quality], Comparison]:
    """Measure predictors on text that decided nothing: quality by network that got a token, and what they cost."""
    qualities = {
        name: quality(predictors[name], found)
        for name, found in _of(model, inputs)
        if name in predictors and len(found.inputs)
    }
    (cost,) = Reference(model, rows).compare([Predicted(model.graph, layer_choices(model.graph, predictors))])
    return qualities, cost


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
