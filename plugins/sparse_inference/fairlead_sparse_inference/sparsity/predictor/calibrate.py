"""Sets a predictor's threshold from the recall that is asked for, and measures what it then does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .examples import Examples
from .network import Predictor

_BINS = 4096


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares of neurons and tokens: `recall` of neurons that fire, `weighted_recall` of what they add to the output.

    `predicted` and `fires` are shares of all neurons; `gates` the share of gates that are not zero; `confirmed` that of
    predicted neurons whose gate is not zero, of all neurons.
    """

    recall: float
    weighted_recall: float
    precision: float
    predicted: float
    fires: float
    gates: float


def calibrated(predictor: Predictor, held: Examples, weighted_recall: float) -> Predictor:
    """Return the predictor with the highest threshold at which the wanted share of what fires is found.

    The threshold is exact to one of 4096 steps of the score's range, and never finds less than is wanted.
    """
    scores, adds = predictor.scores(held.inputs), held.adds
    low, high = float(scores.min()), float(scores.max())
    edges = np.linspace(low, high, _BINS + 1)
    found = np.histogram(scores, edges, weights=adds)[0]
    above = np.cumsum(found[::-1])[::-1]
    enough = np.flatnonzero(above >= weighted_recall * found.sum())
    best = int(enough[-1]) if len(enough) and found.sum() > 0 else _BINS
    # A score equal to its bin's lower edge counts as above it; predict() asks for more than the threshold.
    return replace(predictor, threshold=float(np.nextafter(np.float32(edges[best]), np.float32(-np.inf))))


def quality(predictor: Predictor, held: Examples) -> Quality:
    """Measure a predictor on examples that it was not trained on."""
    predicted, fires = predictor.predict(held.inputs), held.fires
    both = int((predicted & fires).sum())
    total = float(held.adds.sum(dtype=np.float64))
    kept = float(np.where(predicted, held.adds, 0).sum(dtype=np.float64))
    return Quality(
        recall=both / max(int(fires.sum()), 1),
        weighted_recall=kept / total if total else 1.0,
        precision=both / max(int(predicted.sum()), 1),
        predicted=float(predicted.mean()),
        fires=float(fires.mean()),
        gates=held.gates / fires.size,
    )


def relative_cost(predictor: Predictor, measured: Quality, hidden: int, neurons: int, others: int = 2) -> float:
    """Return the weights that predictor mode reads for a token and layer, relative to exact mode; below 1 is a gain.

    `others` are the rows of a neuron beside its gate: up and down, or down alone.

    Exact mode reads all gate rows, and up and down rows where a gate is not zero. Predictor mode reads the predictor,
    the gate rows of what is predicted, and of those up and down rows where the gate is not zero; here all are counted.
    """
    exact = neurons * hidden * (1 + others * measured.gates)
    ours = predictor.parameters + neurons * hidden * (
        measured.predicted + others * min(measured.predicted, measured.gates)
    )
    return ours / exact
