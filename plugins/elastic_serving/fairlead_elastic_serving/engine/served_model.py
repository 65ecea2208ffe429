"""A model ready to serve on one instance: weights in the arena, tables, kernels, and the host memory for swaps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from fairlead_language_model.checkpoint import Checkpoint, open_checkpoint
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.tokenizer import Tokenizer, open_tokenizer

from ..arena.page_tables import PageTables
from ..kernels.backends import KernelBackend, backend
from ..kernels.tiers import Tiers
from ..model.attention import RAW_FORMATS, PagedAttention, raw_tiers
from ..model.layout import layer_layout
from ..model.loading import LoadedModel, load_model
from ..model.stage import Stage
from .compressed_model import compressed
from .local_space import LocalSpace
from .memory_plan import MemoryPlan, page_bytes_for
from .settings import EngineSettings


@dataclass
class ServedModel:
    """One instance's model, its pages, and all that is needed to compute.

    Attributes:
        loaded: weights, arena and memory.
        tokenizer: of the model.
        plan: how memory is divided.
        context: the longest sequence.
        tables: of uncompressed keys and values.
        tiers: the layout of their pages.
        backend: the kernels.
        stage: the layers.
        space: room for requests.
        host: uint8 [host pages, page_bytes], where requests wait that are swapped out.
    """

    loaded: LoadedModel
    tokenizer: Tokenizer
    settings: EngineSettings
    plan: MemoryPlan
    context: int
    tables: PageTables
    tiers: Tiers
    backend: KernelBackend
    stage: Stage
    space: LocalSpace
    host: torch.Tensor

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        return self.loaded.checkpoint.config

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self.tokenizer.eos_token_ids | frozenset(self.config.eos_token_ids)

    @classmethod
    def open(
        cls,
        source: Checkpoint | Path | str,
        memory_bytes: int,
        settings: EngineSettings | None = None,
        *,
        tokenizer: Tokenizer | None = None,
        most_bytes: int | None = None,
    ) -> ServedModel:
        """Read a model into a memory budget.

        Args:
            source: a checkpoint, or its path.
            memory_bytes: for weights, keys, values and work; the interpreter and its libraries are not counted.
            settings: how requests are served.
            tokenizer: where it is not beside the checkpoint.
            most_bytes: to which the budget may grow later; on a processor what is not used takes no memory.

        Raises:
            BudgetTooSmall: the budget holds no sequence.
            CheckpointError, ConfigError, TokenizerError: the files cannot be used.
            ModelUnsupported: the model has a part that is not computed here.
        """
        settings = settings or EngineSettings()
        checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
        tokenizer = tokenizer or open_tokenizer(checkpoint.path, checkpoint.config)
        plan, context = plan_memory(checkpoint.config, settings)
        pages = plan.kv_pages(memory_bytes)
        reserve = max(pages, plan.kv_pages(max(memory_bytes, most_bytes or 0)))
        loaded = load_model(checkpoint, reserve, plan.page_bytes, settings.torch_dtype, settings.device)
        loaded.arena.retire(reserve - pages)
        return cls._composed(loaded, tokenizer, settings, plan, context)

    @classmethod
    def _composed(
        cls, loaded: LoadedModel, tokenizer: Tokenizer, settings: EngineSettings, plan: MemoryPlan, context: int
    ) -> ServedModel:
        config, kernels = loaded.checkpoint.config, backend(settings.device, settings.kernels)
        tiers = raw_tiers(config, settings.torch_dtype, plan.page_bytes)
        layers, heads = config.num_hidden_layers, config.num_key_value_heads
        width, tokens = tiers.high.pages_for(context), tiers.high.tokens
        tables = PageTables(loaded.arena, settings.sequences * layers * heads, width, (tokens, tokens))
        host_pages = settings.host_bytes // plan.page_bytes
        if settings.compression is None:
            attention = PagedAttention(config, loaded.memory, tables, tiers, kernels)
            space = LocalSpace(
                tables,
                layers,
                heads,
                host_pages=host_pages,
                prefix=settings.prefix_cache,
                copy=loaded.memory.copy,
            )
        else:
            attention, space = compressed(loaded, settings, tables, tiers, kernels, context, host_pages)
        stage = Stage(config, loaded.layers, loaded.ends, attention, context)
        host = torch.empty((host_pages, plan.page_bytes), dtype=torch.uint8)
        return cls(loaded, tokenizer, settings, plan, context, tables, tiers, kernels, stage, space, host)


def plan_memory(config: ModelConfig, settings: EngineSettings) -> tuple[MemoryPlan, int]:
    """Return how a budget for a model would be divided, and the longest sequence; raises ModelUnsupported."""
    context = min(settings.context or config.max_position_embeddings, config.max_position_embeddings)
    layout = layer_layout(config, settings.torch_dtype)
    page_bytes = settings.page_bytes or page_bytes_for(RAW_FORMATS[settings.torch_dtype], config.head_dim)
    plan = MemoryPlan.of(
        config,
        layout,
        raw_tiers(config, settings.torch_dtype, page_bytes).high,
        step_tokens=settings.step_tokens,
        sequences=settings.sequences,
        context=context,
        least_tokens=min(context, settings.least_tokens),
    )
    return plan, context
