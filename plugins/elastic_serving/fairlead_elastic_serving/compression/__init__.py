"""Keys and values of sequences in two tiers, from prompt to last token: arena, tables and kernels put together."""

from .tiered_cache import TieredCache

__all__ = ["TieredCache"]
