"""What `fairlead tier-probe URL --json` measured on this node, for bids. Standard library only.

Files of the folder PROBES, whatever their names: the last of each kind of tier counts.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

PROBES = "FAIRLEAD_TIER_PROBES"
DEFAULT = Path("~/.cache/fairlead/tiers")
#: Kinds of regions by the tier that bids know.
TIERS = {"file": "file", "memory": "memory", "ucx": "memory", "shm": "memory", "process": "memory"}
#: Of an exact vector, and reads in flight of one search, and of many.
LENGTH, ONE, MANY = 1024, 16, 64


def probed() -> dict[str, str]:
    """Return ``retrieval_TIER``: seconds of a search's batch, of a further read, and of the processor for a read."""
    found: dict[str, str] = {}
    folder = Path(os.environ.get(PROBES, DEFAULT)).expanduser()
    for path in sorted(folder.glob("*.json"), key=lambda each: each.stat().st_mtime):
        try:
            probe: dict[str, Any] = json.loads(path.read_text())
            one, many = (_nearest(probe["points"], depth) for depth in (ONE, MANY))
            # A batch of a search is several of the probe's, one behind the other.
            batch_s = max(one["p50_us"] * 1e-6, ONE / one["reads_per_s"])
            said = (batch_s, 1 / many["reads_per_s"], one["processor_us"] * 1e-6)
            found[f"retrieval_{TIERS[probe['kind']]}"] = " ".join(f"{value:.3g}" for value in said)
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            continue  # no probe: what is assumed of the tier's kind stays
    return found


def _nearest(points: list[dict[str, Any]], depth: int) -> dict[str, Any]:
    def apart(point: dict[str, Any]) -> float:
        far = max(point["length"] / LENGTH, LENGTH / point["length"])
        return far * max(point["depth"] / depth, depth / point["depth"])

    return min(points, key=apart)
