"""Calibration by measured loss: a model, samples of a text, and each head under each choice of alphas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.tokenizer import open_tokenizer

from ..arena.formats import KVFormat
from ..engine.served_model import ServedModel, plan_memory
from ..engine.settings import EngineSettings
from ..kernels.tiers import Tiers
from .calibration import Calibration, Measured, calibrate_by_loss
from .fingerprint import fingerprint
from .measuring import ALL_HIGH, Measuring

if TYPE_CHECKING:
    from .command import Plan

Alphas = tuple[float, float]


class Calibrating:
    """Measures the heads of a model one after the other.

    Attributes:
        fingerprint: of the model.
        head_dim: elements of a head.
    """

    def __init__(self, model: ServedModel, measuring: Measuring) -> None:
        self._model, self._measuring = model, measuring
        self.fingerprint, self.head_dim = fingerprint(model.loaded.checkpoint), model.config.head_dim
        self._found: list[Measured] = []

    @classmethod
    def open(
        cls, path: Path, text: str, formats: Sequence[KVFormat], plan: Plan, *, dtype: str, device: str
    ) -> Calibrating:
        """Read a model and samples of a text.

        Raises:
            ValueError: the text is too short, or the model's context.
            LanguageModelError, ModelUnsupported: the checkpoint cannot be used.
        """
        checkpoint = open_checkpoint(path)
        config, length = checkpoint.config, plan.prompt + plan.text
        if length > config.max_position_embeddings:
            raise ValueError(f"--tokens {length}: accepted: up to the model's {config.max_position_embeddings}")
        tokens = open_tokenizer(path, config).encode(text)
        return cls.over(ServedModel.open(*_sized(checkpoint, plan, dtype, device)), tokens, formats, plan)

    @classmethod
    def over(cls, model: ServedModel, tokens: Sequence[int], formats: Sequence[KVFormat], plan: Plan) -> Calibrating:
        """Take samples of token ids; raises ValueError where they are too few."""
        length = plan.prompt + plan.text
        if len(tokens) < length:
            raise ValueError(f"the text has {len(tokens)} tokens; accepted: at least {length}, one sample")
        count = min(plan.samples, len(tokens) // length)
        firsts = np.linspace(0, len(tokens) - length, count).astype(int)
        samples = [tokens[first : first + length] for first in firsts]
        tiers = Tiers.of(formats[0], formats[1], model.config.head_dim, model.loaded.memory.page_bytes)
        return cls(model, Measuring(model, tiers, samples, plan.prompt, plan.window))

    def count(self, grid: Sequence[Alphas]) -> int:
        """Return how many steps there are."""
        return len(grid) * int(np.prod(self._measuring.shape))

    def steps(self, grid: Sequence[Alphas]) -> Iterator[None]:
        """Measure each head under each choice, all others whole."""
        shape = self._measuring.shape
        whole = self._measuring.loss(np.full(shape, ALL_HIGH[0], np.float32), np.full(shape, ALL_HIGH[1], np.float32))
        sizes, losses = (np.zeros((len(grid), *shape)) for _ in range(2))
        for layer, head in np.ndindex(shape):
            for number, alphas in enumerate(grid):
                high, low = (np.full(shape, alpha, np.float32) for alpha in ALL_HIGH)
                high[layer, head], low[layer, head] = alphas
                losses[number, layer, head] = self._measuring.loss(high, low) - whole
                sizes[number, layer, head] = self._measuring.token_bytes(alphas, layer, head)
                yield
        self._found = [Measured(alphas, sizes[i], losses[i]) for i, alphas in enumerate(grid)]

    def choose(self, token_bytes: float) -> tuple[Calibration, float]:
        """Return the best choice within so many bytes, and its divergence with all heads compressed, nats a token."""
        found = calibrate_by_loss(self._found, self._measuring.shape, token_bytes)
        return found, self._measuring.loss(found.high, found.low)


def _sized(checkpoint: object, plan: Plan, dtype: str, device: str) -> tuple:
    """What `ServedModel.open` takes, with pages for all samples side by side."""
    from fairlead_language_model.checkpoint import Checkpoint

    assert isinstance(checkpoint, Checkpoint)
    length = plan.prompt + plan.text
    settings = EngineSettings(
        dtype=dtype, device=device, context=length, sequences=plan.samples + 1, step_tokens=512, prefix_cache=False
    )
    memory, _ = plan_memory(checkpoint.config, settings)
    # Of each prompt at most what uncompressed keys and values take, the text after it beside that.
    pages = int((plan.samples + 1) * (length + plan.text) * memory.token_bytes / memory.page_bytes) + 64
    return checkpoint, memory.bytes_for(max(pages, memory.least_pages)), settings
