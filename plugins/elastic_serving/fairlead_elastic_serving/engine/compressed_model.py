"""Attention and room of a model whose keys and values are compressed."""

from __future__ import annotations

from ..arena.page_tables import PageTables
from ..compression.attention import TieredAttention
from ..compression.fingerprint import fingerprint
from ..compression.tiered_rows import TieredRows
from ..kernels.backends import KernelBackend
from ..kernels.tiers import Tiers
from ..model.loading import LoadedModel
from .compressed_space import CompressedSpace
from .settings import EngineSettings


def compressed(
    loaded: LoadedModel,
    settings: EngineSettings,
    tables: PageTables,
    tiers: Tiers,
    kernels: KernelBackend,
    context: int,
    host_pages: int,
) -> tuple[TieredAttention, CompressedSpace]:
    """Compose them over a loaded model's arena and its tables of uncompressed rows.

    Raises:
        ElasticServingError: the calibration cannot be used.
        ModelUnsupported: a layer sees a window of tokens only.
    """
    wanted, config = settings.compression, loaded.checkpoint.config
    assert wanted is not None
    thresholds = wanted.thresholds(config, fingerprint(loaded.checkpoint))
    low_bits = Tiers.of(*wanted.formats, config.head_dim, loaded.memory.page_bytes)
    layers, heads = config.num_hidden_layers, config.num_key_value_heads
    sequences = settings.sequences + (wanted.kept if settings.prefix_cache else 0)
    # Both tiers begin a page, and either may hold all tokens.
    width = low_bits.high.pages_for(context) + 2
    lean = PageTables(loaded.arena, sequences * layers * heads, width, (low_bits.high.tokens, low_bits.low.tokens))
    rows = TieredRows(lean, loaded.memory, low_bits, kernels, thresholds, wanted.window)
    attention = TieredAttention(config, loaded.memory, tables, tiers, kernels, rows)
    space = CompressedSpace(
        tables,
        layers,
        heads,
        rows,
        tiers,
        config.num_attention_heads,
        when=wanted.when,
        host_pages=host_pages,
        prefix=settings.prefix_cache,
        kept=wanted.kept,
        copy=loaded.memory.copy,
    )
    attention.store = space
    return attention, space
