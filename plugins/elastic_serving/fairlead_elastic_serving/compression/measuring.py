"""What compressing prompts changes in what a model foretells after them, measured by the engine's own parts.

Prompts are computed once, uncompressed; then their heads are stored in two tiers under any alphas, one after the other,
and the text after the prompts is computed over them. What is measured is the mean Kullback-Leibler divergence from
what the model foretells over uncompressed keys and values, in nats a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..arena.allocation import I32
from ..arena.page_tables import HIGH, LOW, PageTables
from ..engine.served_model import ServedModel
from ..kernels.placement import Thresholds, place_prompt
from ..kernels.tiers import Tiers
from ..model.batch import Batch
from ..model.stage import Stage
from .attention import TieredAttention
from .received import Received
from .tiered_rows import TieredRows

F32 = NDArray[np.float32]
ALL_HIGH = (0.0, 0.0)
"""Alphas under which whatever was ever attended to is significant."""


@dataclass
class _Prompt:
    """A prompt's uncompressed keys and values, by layer float32 [tokens, kv_heads, head_dim]; what its rows are now."""

    scores: F32
    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    rows: I32
    alphas: dict[tuple[int, int], tuple[float, float]]


class _Store:
    """Rows by name, for `TieredAttention`."""

    def __init__(self) -> None:
        self.raw_rows: dict[str, I32] = {}
        self.tiered_rows: dict[str, I32] = {}
        self.before: dict[str, int] = {}
        self.sums: dict[str, Received] = {}

    def raw(self, name: str) -> I32 | None:
        return self.raw_rows.get(name)

    def tiered(self, name: str) -> I32 | None:
        return self.tiered_rows.get(name)

    def compressed(self, name: str) -> int:
        return self.before.get(name, 0)

    def received(self, name: str) -> Received:
        return self.sums[name]

    def computed(self, batch: Batch) -> None:
        pass


class Measuring:
    """Prompts with text after them, whose heads can be stored under any alphas.

    Args:
        model: opened without compression; nothing else may use it meanwhile.
        tiers: the formats.
        samples: token ids of a prompt and of the text after it, all prompts as long, and all texts.
        prompt: tokens of the prompts.
        window: newest tokens of a prompt that always stay high.

    Raises:
        OutOfPages: the model's pages do not hold all prompts.
    """

    def __init__(
        self, model: ServedModel, tiers: Tiers, samples: Sequence[Sequence[int]], prompt: int, window: int
    ) -> None:
        config, loaded = model.config, model.loaded
        self.shape = (config.num_hidden_layers, config.num_key_value_heads)
        self._model, self._tiers, self._window, self._length = model, tiers, window, prompt
        rows = self.shape[0] * self.shape[1]
        width = tiers.high.pages_for(model.context) + 2
        lean = PageTables(loaded.arena, len(samples) * rows, width, (tiers.high.tokens, tiers.low.tokens))
        every = np.zeros(self.shape, np.float32)
        self._rows = TieredRows(lean, loaded.memory, tiers, model.backend, Thresholds(every, every), window)
        attention = TieredAttention(config, loaded.memory, model.tables, model.tiers, model.backend, self._rows)
        self._store = attention.store = _Store()
        self._stage = Stage(config, loaded.layers, loaded.ends, attention, model.context)
        self._texts = [list(sample[prompt:]) for sample in samples]
        self._prompts: list[_Prompt] = []
        reference = [
            self._prompt(list(sample[:prompt]), text) for sample, text in zip(samples, self._texts, strict=True)
        ]
        self.reference = torch.stack(reference)

    @property
    def scores(self) -> list[F32]:
        """Relative significance of the prompts' tokens: float32 [layers, tokens, kv_heads] each."""
        return [prompt.scores for prompt in self._prompts]

    def token_bytes(self, alphas: tuple[float, float], layer: int, head: int) -> float:
        """Return the bytes that a token of one head takes on average under its alphas."""
        sizes = [self._tiers.layout(tier).format.token_bytes(self._tiers.head_dim) for tier in (HIGH, LOW)]
        taken = 0.0
        for prompt in self._prompts:
            placed = place_prompt(prompt.scores[layer, :, head, None], Thresholds(*alphas), self._window)
            taken += sum(size * float((placed == tier).mean()) for size, tier in zip(sizes, (HIGH, LOW), strict=True))
        return taken / len(self._prompts)

    def loss(self, high: F32, low: F32) -> float:
        """Return the divergence in nats a token with alphas float32 [layers, kv_heads] each."""
        for prompt in self._prompts:
            for layer, head in np.ndindex(self.shape):
                self._place(prompt, layer, head, (float(high[layer, head]), float(low[layer, head])))
        found = self.foretell()
        # One after the other: a vocabulary's logarithms are many.
        divergences = [
            torch.nn.functional.kl_div(one, of, reduction="batchmean", log_target=True)
            for one, of in zip(found, self.reference, strict=True)
        ]
        return float(torch.stack(divergences).mean())

    def _place(self, prompt: _Prompt, layer: int, head: int, alphas: tuple[float, float]) -> None:
        """Store one head of a prompt under alphas, unless it is stored under them already."""
        if prompt.alphas.get((layer, head)) == alphas:
            return
        row = prompt.rows.reshape(self.shape)[layer, head : head + 1]
        self._rows.tables.resize(row, np.zeros((1, 2), np.int32))
        scores = np.ascontiguousarray(prompt.scores[layer, :, head : head + 1])
        placed = place_prompt(scores, Thresholds(*alphas), self._window)
        vectors = (part[layer][:, head : head + 1].contiguous() for part in (prompt.keys, prompt.values))
        self._rows.store(row, placed, *vectors, scores, 0)
        prompt.alphas[layer, head] = alphas

    def _prompt(self, tokens: list[int], text: list[int]) -> torch.Tensor:
        """Compute a prompt, keep what it stored, and return what the model foretells after it."""
        rows, name = self._open(len(tokens) + len(text)), "prompt"
        layers, heads = self.shape[0], self._model.config.num_attention_heads
        self._store.raw_rows[name] = rows.reshape(self.shape)
        self._store.sums[name] = Received(layers, heads, 0, self._model.loaded.memory.device)
        step = self._model.settings.step_tokens
        for first in range(0, len(tokens), step):
            self._compute([name], [tokens[first : first + step]], first)
        scores = self._store.sums[name].significance(len(tokens), self.shape[1], 0)
        found = self._compute([name], [text], len(tokens))[0]
        read = [self._read(layer_rows, len(tokens)) for layer_rows in rows.reshape(self.shape)]
        self._model.tables.close(rows)
        lean = self._rows.tables.open(len(rows))
        self._prompts.append(_Prompt(scores, [keys for keys, _ in read], [values for _, values in read], lean, {}))
        return found

    def foretell(self) -> torch.Tensor:
        """Return what the model foretells over the prompts as they are stored now.

        Log probabilities, float32 [prompts, tokens, vocabulary]; `reference` has those over uncompressed prompts.
        """
        names = [f"text {i}" for i in range(len(self._prompts))]
        held = []
        for name, prompt, text in zip(names, self._prompts, self._texts, strict=True):
            held.append(self._open(len(text)))
            self._store.raw_rows[name] = held[-1].reshape(self.shape)
            self._store.tiered_rows[name] = prompt.rows.reshape(self.shape)
            self._store.before[name] = self._length
            self._store.sums[name] = Received(
                self.shape[0], self._model.config.num_attention_heads, 0, self._model.loaded.memory.device
            )
        found = self._compute(names, self._texts, self._length)
        for rows in held:
            self._model.tables.close(rows)
        return found

    def _compute(self, names: list[str], chunks: list[list[int]], first: int) -> torch.Tensor:
        """Log probabilities after each token of chunks of one length: float32 [chunks, tokens, vocabulary]."""
        count, length = len(chunks), len(chunks[0])
        batch = Batch(
            names=tuple(names),
            tokens=np.array(chunks, np.int64).reshape(-1),
            positions=np.tile(np.arange(first, first + length, dtype=np.int32), count),
            starts=np.arange(0, count * length + 1, length, dtype=np.int32),
            rows=np.stack([self._store.raw_rows[name] for name in names]),
            stored=np.full(count, first, np.int32),
            samples=np.arange(count * length, dtype=np.int32),
        )
        hidden = self._stage.run(batch, self._stage.embed(batch), range(self.shape[0]))
        return self._stage.logits(hidden).log_softmax(-1).unflatten(0, (count, length))

    def _open(self, tokens: int) -> I32:
        tables = self._model.tables
        rows = tables.open(self.shape[0] * self.shape[1])
        counts = np.zeros((len(rows), 2), np.int32)
        counts[:, HIGH] = tokens
        tables.resize(rows, counts)
        return rows

    def _read(self, rows: I32, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        kernels, put = self._model.backend, self._model.backend.put
        every, slots = np.tile(rows, tokens), np.repeat(np.arange(tokens, dtype=np.int32), len(rows))
        keys, values, *_ = kernels.gather(
            self._model.loaded.memory.pages_t, self._model.tiers, HIGH, put(self._model.tables.tables), put(every),
            put(slots),
        )  # fmt: skip
        return keys.unflatten(0, (tokens, len(rows))), values.unflatten(0, (tokens, len(rows)))
