"""Regions of memory in tiers: DRAM, shared memory, NUMA nodes, memory nodes (TCP, one-sided reads), files.

`open_region(url)` opens or makes one; `node` lends them; `probe` measures one; `move` copies one to another while it is
read and written; `replicated` reads from whichever copy answers; `packed` has rows of float32 in less space.
"""

from .region import Region, RegionUrlError, TierError, TierLost, TierTimeout
from .urls import open_region

__all__ = ["Region", "RegionUrlError", "TierError", "TierLost", "TierTimeout", "open_region"]
