"""Where a collection's vectors lie: moves between main memory, files and memory nodes, while searches go on."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ..errors import TieredRetrievalError
from ..space import Space
from ..store.collection import Collection
from ..store.policy import FLAT, IndexPolicy, Plan, Situation, available_kinds
from ..store.store import Store

#: Kinds of index whose vectors may lie in a lower tier: for many vectors, and for a few.
MANY, FEW = "lists", "codes"
#: Room of a region beside the vectors that are there, for those that come.
SLACK, LEAST_BYTES = 1.5, 1 << 20
#: A search takes no longer than this.
GRACE_S = 10.0
#: Region kinds by the scheme of their URL, where they are no word for people.
_KINDS = {"": "dram", "dram": "dram", "file": "file"}


def tier_of(plan: Plan) -> str:
    """Return dram, file or memory."""
    return _KINDS.get(urlsplit(plan.region or "").scheme, "memory")


class Regions:
    """Opens regions and gives them back: a memory node lends no longer than somebody reads.

    Args:
        opener: opens a region by its URL.
    """

    def __init__(self, opener: Callable[[str], Any]) -> None:
        self._opener = opener
        self._opened: dict[str, Any] = {}

    def open(self, url: str) -> Any:
        """Open a region; raises TieredRetrievalError or TierError."""
        region = self._opened[url] = self._opener(url)
        return region

    def release(self, url: str | None) -> None:
        """Close a region that nobody reads any more, once searches that are under way have ended."""
        region = self._opened.pop(url or "", None)
        if region is None:
            return
        closing = threading.Timer(GRACE_S, region.close)
        closing.daemon = True
        closing.start()


@dataclass(frozen=True, slots=True)
class StaysInTier:
    """An index whose vectors were moved to a tier stays there; any other is chosen by `inner`."""

    inner: IndexPolicy

    def choose(self, situation: Situation) -> Plan:
        """Return the plan in force where it has a region."""
        return situation.plan if situation.plan.region else self.inner.choose(situation)


class Placement:
    """Moves collections of one store.

    Args:
        store: has them.
        policy: that chooses indexes in main memory.
        folder: for files of vectors.
        memory_nodes: URLs of regions, in the order in which they are tried.
        regions: that are open.
    """

    def __init__(
        self,
        store: Store,
        policy: IndexPolicy,
        folder: Path,
        memory_nodes: tuple[str, ...],
        regions: Regions,
    ) -> None:
        self._store, self._policy, self._regions = store, policy, regions
        self.folder, self.memory_nodes = folder, memory_nodes
        self._lock = threading.Lock()
        #: Moves since the start.
        self.moves = 0

    def lower(self) -> str:
        """The tier that vectors leave main memory for."""
        return "memory" if self.memory_nodes else "file"

    def move(self, name: str, tier: str, url: str | None = None) -> dict[str, Any]:
        """Move a collection's vectors.

        Returns:
            was and tier, with the bytes in main memory and in the tier.

        Raises:
            TieredRetrievalError: the tier cannot be had, or the collection is empty; nothing was moved.
        """
        collection = self._store.collection(name)
        with self._lock:
            plan = collection.status().plan
            was = tier_of(plan)
            if tier != was or (url is not None and url != plan.region):
                self._moved(name, collection, plan, tier, url)
                self.moves += 1
        status = collection.status()
        lower = status.sizes.tier_bytes if status.plan.region else 0
        moved = {"was": was, "tier": tier_of(status.plan), "index": status.plan.kind}
        return {**moved, "dram_bytes": status.memory_bytes, "tier_bytes": lower}

    def _moved(self, name: str, collection: Collection, plan: Plan, tier: str, url: str | None) -> None:
        if tier == "dram":
            collection.rebuild(self._in_memory(collection))
        else:
            region = self._region(name, collection, tier, url)
            if plan.region:
                collection.move(region)
            else:
                collection.rebuild(Plan(self.kind(collection), region=region, reason=f"moved to {tier}"))
        self._forget(plan.region)

    def kind(self, collection: Collection) -> str:
        """The kind of index that a collection has in a lower tier."""
        many = collection.count() >= self._store.settings.index_from
        return MANY if many and MANY in available_kinds() else FEW

    def _in_memory(self, collection: Collection) -> Plan:
        """The plan that an index in main memory would have."""
        flat = Plan(FLAT, reason="all vectors are compared")
        count = collection.count()
        return self._policy.choose(Situation(collection.space, count, self._store.memory.left, flat, 0))

    def _region(self, name: str, collection: Collection, tier: str, url: str | None) -> str:
        count = collection.count()
        if not count:
            raise TieredRetrievalError(f"collection {name!r} is empty; accepted: a move of what is there")
        size = region_bytes(collection.space, count)
        if tier == "file":
            return url or self._file(name, size)
        return _sized(url or self._node(), name, size)

    def _file(self, name: str, size: int) -> str:
        """A new file, past the page cache where its file system can."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{_safe(name)}-{uuid.uuid4().hex[:8]}.vectors"
        for direct in (1, 0):
            region = f"file:{quote(str(path))}?size={size}&direct={direct}"
            try:
                self._regions.open(region)
                return region
            except Exception:
                path.unlink(missing_ok=True)
                if not direct:
                    raise
        raise AssertionError("unreachable")

    def _node(self) -> str:
        if not self.memory_nodes:
            raise TieredRetrievalError(
                "tier = 'memory': no memory node is named; accepted: url = memory://HOST:PORT/REGION, or memory_nodes "
                "in the workload's config"
            )
        return self.memory_nodes[0]

    def _forget(self, region: str | None) -> None:
        """Give a region back that vectors were moved out of, and remove its file where it is one of this instance's."""
        self._regions.release(region)
        parts = urlsplit(region or "")
        path = Path(parts.path)
        if parts.scheme == "file" and path.parent == self.folder:
            path.unlink(missing_ok=True)


def region_bytes(space: Space, count: int) -> int:
    """Bytes of a region for vectors and those that come, a multiple of 4 KiB."""
    return -(-max(LEAST_BYTES, int(count * space.bytes * SLACK)) // 4096) * 4096


def _sized(url: str, name: str, size: int) -> str:
    """A region's URL with its size, and with a name of its own where the URL ends at the node."""
    parts = urlsplit(url)
    if parts.scheme != "memory":
        return url
    base, _, query = url.partition("?")
    if parts.path in ("", "/"):
        base = f"{base.rstrip('/')}/{_safe(name)}-{uuid.uuid4().hex[:8]}"
    options = [each for each in query.split("&") if each]
    if not any(each.startswith("size=") for each in options):
        options.append(f"size={size}")
    return f"{base}?{'&'.join(options)}"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:48]
