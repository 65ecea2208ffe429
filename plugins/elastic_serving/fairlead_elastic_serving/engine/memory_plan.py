"""How a memory budget is divided: ends and work first, then one arena for the layers and for keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fairlead_language_model.config import ModelConfig
from fairlead_language_model.serving import BudgetTooSmall

from ..arena.formats import KVFormat, PageLayout, page_layout
from ..model.layout import LayerLayout
from ..model.weights import ends_bytes

PAGE_STEP = 4096
"""Pages are multiples of the system's, so that their memory can be given back."""
FEWEST_TOKENS = 16
"""Tokens that a page of uncompressed keys and values holds at least, where the size is not given."""


def page_bytes_for(format: KVFormat, head_dim: int, tokens: int = FEWEST_TOKENS) -> int:
    """Return the bytes of the smallest page, a multiple of 4096, that holds so many tokens."""
    size = PAGE_STEP
    while page_layout(format, head_dim, size).tokens < tokens:
        size += PAGE_STEP
    return size


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What a model takes, in bytes, and what is left for keys and values.

    Attributes:
        ends_bytes: embedding, norm and output matrix.
        work_bytes: states of a step and its logits, and tables of positions.
        layer_pages: pages of all layers.
        least_pages: for keys and values without which nothing can be served.
        page_bytes: of a page.
        token_bytes: keys and values of one token, with what pages leave unused.
    """

    ends_bytes: int
    work_bytes: int
    layer_pages: int
    least_pages: int
    page_bytes: int
    token_bytes: float

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        layout: LayerLayout,
        page: PageLayout,
        *,
        step_tokens: int,
        sequences: int,
        context: int,
        least_tokens: int,
    ) -> MemoryPlan:
        """Plan for steps of so many tokens of so many sequences; ``least_tokens`` of one sequence must fit."""
        rows = config.num_hidden_layers * config.num_key_value_heads
        return cls(
            ends_bytes=ends_bytes(config, layout.dtype),
            work_bytes=_work_bytes(config, layout.dtype, step_tokens, sequences, context),
            layer_pages=config.num_hidden_layers * layout.pages(page.page_bytes),
            least_pages=rows * page.pages_for(least_tokens),
            page_bytes=page.page_bytes,
            token_bytes=rows * page.page_bytes / page.tokens,
        )

    @property
    def fixed_bytes(self) -> int:
        """Bytes of everything but keys and values, with all layers there."""
        return self.ends_bytes + self.work_bytes + self.layer_pages * self.page_bytes

    @property
    def least_bytes(self) -> int:
        """The smallest budget."""
        return self.fixed_bytes + self.least_pages * self.page_bytes

    def kv_pages(self, memory_bytes: int) -> int:
        """Return the pages that a budget leaves for keys and values; raises BudgetTooSmall."""
        if memory_bytes < self.least_bytes:
            raise BudgetTooSmall(memory_bytes, self.least_bytes)
        return (memory_bytes - self.fixed_bytes) // self.page_bytes

    def bytes_for(self, kv_pages: int) -> int:
        """Return the budget that so many pages for keys and values need."""
        return self.fixed_bytes + kv_pages * self.page_bytes


def _work_bytes(config: ModelConfig, dtype: torch.dtype, step_tokens: int, sequences: int, context: int) -> int:
    joined = (config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim
    # What is alive at once in a layer: states before and after, the joined projections turned, gate, up and product.
    a_token = 3 * config.hidden_size + 4 * joined + 3 * config.intermediate_size
    logits = 2 * min(step_tokens, sequences) * config.vocab_size * torch.float32.itemsize
    return step_tokens * a_token * dtype.itemsize + logits + 2 * context * config.head_dim * torch.float32.itemsize
