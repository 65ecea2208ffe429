"""Models that the kernels' decoder lacks a part of (a projected embedding, for one), served by the NumPy graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import BatchResult, DecodeResult
from fairlead_kernels.work import ACTIVE, COMPUTED, EXPERTS, PREDICTED, Work, empty_work
from fairlead_language_model.experts import Experts
from fairlead_language_model.graph import KVPages, LlamaGraph, PageTable
from fairlead_language_model.tokenizer import Tokenizer

from .bundle_model import EXACT
from .model import SparseModel

I32 = NDArray[np.int32]


class GraphModel(SparseModel):
    """A model with its weights as they are stored; `reason` says what the kernels lack. Slow, and exact."""

    def __init__(self, graph: LlamaGraph, tokenizer: Tokenizer, reason: str) -> None:
        self.config, self.weights, self.tokenizer, self.store = graph.config, graph.weights, tokenizer, None
        self.graph, self.reason, self.mode = graph, reason, EXACT
        layers = range(graph.config.num_hidden_layers)
        self.activations = [np.zeros(graph.config.neurons(layer), np.int64) for layer in layers]

    def decoder(self, pages: KVPages) -> Any:
        """Return a decoder over an arena."""
        return GraphDecoder(self.graph, pages, self.activations)


class GraphDecoder:
    """What `fairlead_kernels.Decoder` does for sequences whose pages are reserved, by the graph."""

    def __init__(self, graph: LlamaGraph, pages: KVPages, counts: list[NDArray[np.int64]]) -> None:
        self._graph, self._pages, self._counts = graph, pages, counts

    def step(self, token: int, position: int, page_table: I32) -> DecodeResult:
        """Run one token at a position."""
        logits, work = self._run([token], position, page_table)
        return DecodeResult(logits[0], work)

    def prefill(self, tokens: I32, position: int, page_table: I32, *, all_logits: bool = False) -> DecodeResult:
        """Run tokens from a position on; logits of the last one, or of all."""
        logits, work = self._run(tokens.tolist(), position, page_table)
        return DecodeResult(logits if all_logits else logits[-1], work)

    def step_many(self, tokens: I32, positions: I32, page_tables: Sequence[I32]) -> BatchResult:
        """Run one token each of several sequences, one after the other."""
        places = zip(tokens.tolist(), positions.tolist(), page_tables, strict=True)
        results = [self.step(token, position, table) for token, position, table in places]
        active = np.stack([result.active for result in results]).astype(np.int32)
        logits = np.stack([result.logits for result in results])
        return BatchResult(logits, active, np.sum([result.work for result in results], axis=0, dtype=np.int64))

    def _run(self, tokens: list[int], position: int, page_table: I32) -> tuple[NDArray[np.float32], Work]:
        config, work = self._graph.config, empty_work(len(self._counts))

        def observe(layer: int, active: NDArray[np.float32]) -> None:
            fired = active != 0
            self._counts[layer] += fired.sum(axis=0)
            experts = config.experts_in(layer)
            computed = config.neurons(layer) if experts is None else experts.active_neurons
            work[layer, [PREDICTED, COMPUTED]] = computed * len(tokens)
            work[layer, ACTIVE] = fired.sum()
            if experts is not None:
                work[layer, EXPERTS] = _used(fired, experts)

        table = PageTable(page_table.tolist(), position)
        return self._graph.forward(tokens, self._pages, table, observe), work


def _used(fired: NDArray[np.bool_], experts: Experts) -> int:
    """How many experts had an active neuron for some token."""
    size = experts.moe_intermediate_size
    own = fired[:, : experts.num_experts * size].reshape(len(fired), experts.num_experts, size)
    return int(own.any(axis=(0, 2)).sum())
