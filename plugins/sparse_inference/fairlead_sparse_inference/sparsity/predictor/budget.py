"""Sets all thresholds of a model together, so that a budget of perplexity saves the most reads.

What a layer leaves out moves the model's output the more, the longer it is and the more the layers after it make of it.
So each layer's price for leaving something out is measured, by cutting that layer alone; then every network gets the
threshold at which another row saved is not worth what it would leave out, at one exchange rate for the whole model
(Lagrange), and the rate is moved until the budget is spent. A fixed recall spends most of a budget in the layers that
are the most sensitive, and reads most where neurons are the hardest to predict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..model import FloatArray, Neurons, ToolModel
from ..perplexity.compare import Comparison, Reference
from ..perplexity.modes import Predicted, layer_choices
from .examples import Examples, examples
from .network import Predictor

_BINS = 4096
#: Share of what a layer adds (its squared length) that is left out while its price is measured.
_PROBE = 0.05
#: Windows of the text on which prices are measured: as many passes as the model has layers.
_PROBE_WINDOWS = 8
_ROUNDS = 5
#: A budget is spent well enough from this share on.
_SPENT = 0.9
#: What a later round aims at, so that a small error does not overspend.
_AIM = 0.96
_Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Curve:
    """What each threshold of a network's predictor does on held-out tokens, float64 [thresholds] from low to high.

    `reads` are rows (of what is predicted its gate, of what fires of it the others); `missed` is the squared length of
    what is left out, as if neurons added to the output in independent directions. Both are sums over tokens.
    """

    thresholds: NDArray[np.float64]
    reads: NDArray[np.float64]
    missed: NDArray[np.float64]

    @classmethod
    def of(cls, predictor: Predictor, held: Examples, others: int) -> Curve:
        """Measure; `others` are a neuron's rows beside its gate."""
        scores, energy = predictor.scores(held.inputs).ravel(), np.square(held.adds, dtype=np.float64).ravel()
        edges = np.linspace(scores.min(), scores.max(), _BINS + 1, dtype=np.float64)
        place = np.clip(np.searchsorted(edges, scores, "right") - 1, 0, _BINS - 1)
        rows, left = (
            np.bincount(place, weights, _BINS) for weights in (1 + others * (energy > 0), energy)
        )  # by the bin of the score
        # Threshold i leaves out the bins before i; the last one leaves out all.
        reads = np.concatenate((np.cumsum(rows[::-1])[::-1], [0.0]))
        return cls(edges, reads, np.concatenate(([0.0], np.cumsum(left))))

    def at_price(self, price: float) -> int:
        """Return the threshold with the smallest sum of rows read and price times what is missed."""
        return int((self.reads + price * self.missed).argmin())

    def missing(self, share: float) -> int:
        """Return the highest threshold that leaves out at most a share of the squared length."""
        return int(np.flatnonzero(self.missed <= share * self.missed[-1])[-1])

    def threshold(self, index: int) -> float:
        """A predictor's threshold: it asks for more than that, and a score at a bin's lower edge belongs to the bin."""
        return float(np.nextafter(np.float32(self.thresholds[index]), np.float32(-np.inf)))


@dataclass(frozen=True, slots=True)
class Spent:
    """Predictors with their thresholds, what they cost on the validation text, and each layer's price.

    `prices` are a layer's nats of divergence a token for each unit of squared length left out of all held tokens.
    """

    predictors: dict[str, Predictor]
    cost: Comparison
    prices: list[float]
    allowed: bool


def spend(
    model: ToolModel,
    predictors: Mapping[str, Predictor],
    held_inputs: Sequence[FloatArray],
    reference: Reference,
    budget: float,
    say: _Say,
) -> Spent:
    """Choose the thresholds with which perplexity rises by at most a share `budget` and the fewest rows are read.

    Both the rise on the windows and what the divergence from the exact model lets expect must stay within it.
    """
    curves = _curves(model, predictors, held_inputs)
    prices = _prices(model, predictors, curves, reference)
    aim = float(np.log1p(budget))
    tried: list[Spent] = []
    for _ in range(_ROUNDS):
        chosen = _exchange(predictors, curves, prices, aim)
        (cost,) = reference.compare([Predicted(model.graph, layer_choices(model.graph, chosen))])
        tried.append(Spent(chosen, cost, prices, cost.spent <= budget))
        say(
            f"with {_reads(curves, chosen):.1%} of the rows validation perplexity rises by {cost.rise:.3%}, "
            f"{np.expm1(cost.divergence):.3%} by its divergence"
        )
        if _SPENT * budget <= cost.spent <= budget:
            break
        aim *= min(max(_AIM * budget / max(cost.spent, 1e-9), 0.25), 3.0)
    # Of those that are allowed the one that spends the most, else the one that is the least above.
    return max(tried, key=lambda one: (one.allowed, one.cost.spent if one.allowed else -one.cost.spent))


_Curves = list[dict[str, Curve]]


def _curves(model: ToolModel, predictors: Mapping[str, Predictor], inputs: Sequence[FloatArray]) -> _Curves:
    """Return each layer's curves by the names of networks."""
    return [
        {
            str(network.name): Curve.of(predictors[str(network.name)], held, network.others)
            for network, held in examples(model, layer, part)
            if str(network.name) in predictors and len(held.inputs)
        }
        for layer, part in enumerate(inputs)
    ]


def _prices(
    model: ToolModel,
    predictors: Mapping[str, Predictor],
    curves: _Curves,
    reference: Reference,
) -> list[float]:
    """Cut each layer alone, and divide the divergence by what is left out."""
    count = len(reference.rows)
    windows = np.unique(np.linspace(0, count - 1, min(_PROBE_WINDOWS, count)).astype(int)).tolist()
    probes: list[Neurons] = []
    missed: list[float] = []
    for layer in curves:
        places = {name: curve.missing(_PROBE) for name, curve in layer.items()}
        cut = {name: replace(predictors[name], threshold=layer[name].threshold(at)) for name, at in places.items()}
        probes.append(Predicted(model.graph, layer_choices(model.graph, cut)))
        missed.append(sum(layer[name].missed[at] for name, at in places.items()))
    found = reference.compare(probes, windows)
    return [max(one.divergence, 1e-9) / max(left, 1e-30) for one, left in zip(found, missed, strict=True)]


def _exchange(
    predictors: Mapping[str, Predictor], curves: _Curves, prices: Sequence[float], most: float
) -> dict[str, Predictor]:
    """Return thresholds at the lowest common rate at which a token's expected divergence is at most `most`."""
    low, high = -60.0, 120.0
    for _ in range(60):
        middle = (low + high) / 2
        rate = np.exp(middle)
        expected = sum(
            price * curve.missed[curve.at_price(rate * price)]
            for layer, price in zip(curves, prices, strict=True)
            for curve in layer.values()
        )
        low, high = (middle, high) if expected > most else (low, middle)
    rate = float(np.exp(high))
    return dict(predictors) | {
        name: replace(predictors[name], threshold=curve.threshold(curve.at_price(rate * price)))
        for layer, price in zip(curves, prices, strict=True)
        for name, curve in layer.items()
    }


def _reads(curves: _Curves, predictors: Mapping[str, Predictor]) -> float:
    """Share of the rows that are read with all neurons predicted."""
    pairs = [(curve, predictors[name].threshold) for layer in curves for name, curve in layer.items()]
    read = sum(float(curve.reads[np.searchsorted(curve.thresholds, threshold)]) for curve, threshold in pairs)
    return read / max(sum(float(curve.reads[0]) for curve, _ in pairs), 1.0)
