"""Which index suits vectors that go to a lower tier: a graph walked there, or clusters read in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..space import Space
from ..tiers.probe import probe
from ..tiers.region import Region
from .advice import Target, advise
from .calibration import DEEP, LONE, tier_of
from .costs import Shape, Tier

#: Of a file past the page cache, where nothing is known of the disk: a file that was just made reads as zeros, at once.
FILE = Tier("file", latency_s=3e-4, reads_per_s=80e3, processor_s=2e-6, granule=4096)
#: Seconds of each point of a probe.
SECONDS = 0.01


def choose_index(space: Space, count: int, region: Region, kinds: Sequence[str], recall: float) -> tuple[str, str]:
    """Return the kind of index with the most searches a second in a region, and why.

    Args:
        space: of the vectors.
        count: of vectors.
        region: memory is probed for a moment, a file is taken for a disk's.
        kinds: that there are, of ``graph`` and ``lists``.
        recall: to reach.

    Raises:
        TierError: the region does not answer.
    """
    advice = advise(Shape(count, space.dim, space.bytes), Target(recall), [_tier(region, space.bytes)])
    fit = [cost for cost in (advice.best, *advice.others) if cost.kind in kinds]
    return fit[0].kind, " ".join(advice.reasons)


def _tier(region: Region, vector_bytes: int) -> Tier:
    if region.kind == "file":
        return FILE
    length = max(64, min(vector_bytes, region.size // 2))
    found = tier_of(probe(region, lengths=(length,), depths=(LONE, DEEP), seconds=SECONDS), vector_bytes)
    # This process's memory is a tier too where it was asked for as one.
    return replace(found, kind="numa") if found.kind == "dram" else found
