"""How long feed-forward layers take on the installed kernels, exact and with neurons left out, one token at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from fairlead_kernels import GROUP, gemv_q8, quantize_q8, sparse_ffn_q8
from fairlead_language_model.errors import LanguageModelError
from fairlead_language_model.graph.q8_decoder import decoder_weights

from ..model import FloatArray, ToolModel
from ..predictor.network import Predictor

_TOKENS = 64
_NAMES = {"drelu": "drelu", "relu": "relu", "silu": "swiglu", "gelu_tanh": "geglu"}
Run = Callable[[FloatArray], object]


class FeedForwardTimer:
    """Times every layer on tokens of captured inputs, [tokens, hidden] a layer; all results are seconds a token.

    Raises LanguageModelError where the kernels do not take the model.
    """

    def __init__(self, model: ToolModel, inputs: Sequence[FloatArray]) -> None:
        self._layers = decoder_weights(model.config, model.graph.weights).layers
        self._tokens = [rows[np.linspace(0, len(rows) - 1, min(_TOKENS, len(rows))).astype(int)] for rows in inputs]
        self._name = _NAMES[model.config.activation]

    def dense(self) -> float:
        """Every row of every neuron is read (as for SwiGLU, which has no zeros)."""
        return self._sum(lambda layer: lambda x: sparse_ffn_q8(*self._weights(layer), x, "swiglu"))

    def exact(self) -> float:
        """All gates are computed; up and down rows are read where a gate is not zero."""
        return self.threshold([0.0] * len(self._layers))

    def threshold(self, thresholds: Sequence[float]) -> float:
        """Like exact, and neurons whose gate does not exceed its layer's threshold are left out."""

        def of(layer: int) -> Run:
            weights, limit = self._weights(layer), thresholds[layer]
            return lambda x: sparse_ffn_q8(*weights, x, self._name, threshold=limit)

        return self._sum(of)

    def predicting(self, predictors: Sequence[Predictor]) -> float:
        """The predictors alone."""
        return self._sum(lambda layer: _predicting(predictors[layer]))

    def predicted(self, predictors: Sequence[Predictor]) -> float:
        """The predictors, and the feed-forward layers over what they predict."""

        def of(layer: int) -> Run:
            weights, predict = self._weights(layer), _predicting(predictors[layer])
            return lambda x: sparse_ffn_q8(*weights, x, self._name, neurons=predict(x))

        return self._sum(of)

    def _weights(self, layer: int) -> tuple[object, object, object]:
        found = self._layers[layer]
        return found.gate, found.up, found.down_t

    def _sum(self, of: Callable[[int], Run]) -> float:
        return sum(_median_s(of(layer), tokens) for layer, tokens in enumerate(self._tokens))


def timer(model: ToolModel, inputs: Sequence[FloatArray]) -> FeedForwardTimer | None:
    """Return a timer, or None where the kernels do not take the model, or its layers are not one gated network each."""
    if model.config.experts is not None or model.config.ffn == "plain":
        return None
    try:
        return FeedForwardTimer(model, inputs)
    except LanguageModelError:
        return None


def time_share(model: ToolModel, predictors: Sequence[Predictor], inputs: Sequence[FloatArray]) -> float | None:
    """Return predicting's share of predictor mode's feed-forward time; None where the kernels lack a part."""
    clock = timer(model, inputs)
    if clock is None or any(predictor.rank % GROUP for predictor in predictors):
        return None
    return clock.predicting(predictors) / clock.predicted(predictors)


def _predicting(predictor: Predictor) -> Callable[[FloatArray], np.ndarray]:
    a, b = (quantize_q8(np.ascontiguousarray(part)) for part in (predictor.a, predictor.b))
    limit = np.float32(predictor.threshold) - predictor.bias

    def predict(x: FloatArray) -> np.ndarray:
        scores = gemv_q8(b, np.maximum(gemv_q8(a, x), np.float32(0)))
        return np.flatnonzero(scores > limit).astype(np.int32)

    return predict


def _median_s(run: Run, tokens: FloatArray) -> float:
    rows = [np.ascontiguousarray(token) for token in tokens]
    run(rows[0])
    times: list[float] = []
    for x in rows:
        started = time.perf_counter()
        run(x)
        times.append(time.perf_counter() - started)
    return float(np.median(times))
