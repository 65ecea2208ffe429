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

from ..advisor.lower_tier import choose_index
from ..errors import TieredRetrievalError
from ..space import Space
from ..store.collection import Collection
from ..store.policy import FLAT, IndexPolicy, Plan, Situation, available_kinds
from ..store.store import Store

#: Kinds of index whose vectors may lie in a lower tier: for many vectors, and for a few.
MANY, FEW = ("lists", "graph"), "codes"
#: Room of a region beside the vectors that are there, for those that come; of a graph's edges, for each vector.
SLACK, LEAST_BYTES, EDGES = 1.5, 1 << 20, 128
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
        """Open a region, or return it where it is open; raises TieredRetrievalError or TierError."""
        there = self._opened.get(url)
        if there is None or there.closed:
            there = self._opened[url] = self._opener(url)
        return there

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
        recall: that an index in a lower tier is chosen for.
    """

    def __init__(
        self,
        store: Store,
        policy: IndexPolicy,
        folder: Path,
        memory_nodes: tuple[str, ...],
        regions: Regions,
        recall: float = 0.95,
    ) -> None:
        self._store, self._policy, self._regions, self._recall = store, policy, regions, recall
        self.folder, self.memory_nodes = folder, memory_nodes
        self._lock = threading.Lock()
        #: Moves since the start.
        self.moves = 0

    def lower(self) -> str:
        """The tier that vectors leave main memory for."""
        return "memory" if self.memory_nodes else "file"

    def move(self, name: str, tier: str, url: str | None = None, index: str | None = None) -> dict[str, Any]:
        """Move a collection's vectors.

        Args:
            name: of the collection.
            tier: dram, file or memory.
            url: of the region; None: a new one.
            index: ``graph`` or ``lists``, of those whose vectors may lie in a lower tier; None: the one that is there
                already, else the advisor chooses by the tier.

        Returns:
            was and tier, with the bytes in main memory and in the tier.

        Raises:
            TieredRetrievalError: the tier cannot be had, or the collection is empty; nothing was moved.
        """
        collection = self._store.collection(name)
        with self._lock:
            plan = collection.status().plan
            was = tier_of(plan)
            if index is not None:
                self._check_index(index, tier, collection)
            another = index is not None and index != plan.kind
            if tier != was or another or (url is not None and url != plan.region):
                self._moved(name, collection, plan, tier, url, index)
                self.moves += 1
        status = collection.status()
        lower = status.sizes.tier_bytes if status.plan.region else 0
        moved = {"was": was, "tier": tier_of(status.plan), "index": status.plan.kind}
        return {**moved, "dram_bytes": status.memory_bytes, "tier_bytes": lower}

    def _check_index(self, index: str, tier: str, collection: Collection) -> None:
        if tier == "dram":
            raise TieredRetrievalError(
                f"index = {index!r} of tier dram; accepted: none, it is chosen by the memory left"
            )
        there = [kind for kind in MANY if kind in available_kinds()]
        if index not in there:
            raise TieredRetrievalError(f"index = {index!r}; accepted: {', '.join(there)}")
        if collection.count() < self._store.settings.index_from:
            least = self._store.settings.index_from
            raise TieredRetrievalError(f"index = {index!r} of {collection.count()} vectors; accepted: {least} and more")

    def _moved(
        self, name: str, collection: Collection, plan: Plan, tier: str, url: str | None, index: str | None
    ) -> None:
        if tier == "dram":
            collection.rebuild(self._in_memory(collection))
        else:
            region = self._region(name, collection, tier, url)
            if region == plan.region:
                raise TieredRetrievalError(
                    f"url = {region!r}: the index of kind {plan.kind} lies there; accepted: another"
                )
            try:
                if plan.region and index in (None, plan.kind):
                    collection.move(region)
                else:
                    kind, reason = (index, "asked for") if index else self.kind(collection, region)
                    collection.rebuild(Plan(kind, region=region, reason=f"moved to {tier}: {reason}"))
            except Exception:
                self._forget(region)
                raise
        self._forget(plan.region)

    def kind(self, collection: Collection, region: str) -> tuple[str, str]:
        """The kind of index that a collection has in a region, and why."""
        if not self.many(collection):
            return FEW, f"{collection.count()} vectors are few"
        kinds = [kind for kind in MANY if kind in available_kinds()]
        return choose_index(collection.space, collection.count(), self._regions.open(region), kinds, self._recall)

    def many(self, collection: Collection) -> bool:
        """Whether a collection has an index for many vectors in a lower tier."""
        enough = collection.count() >= self._store.settings.index_from
        return enough and any(kind in available_kinds() for kind in MANY)

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
    """Bytes of a region for vectors, a graph's edges and those that come, a multiple of 4 KiB."""
    return -(-max(LEAST_BYTES, int(count * (space.bytes + EDGES) * SLACK)) // 4096) * 4096


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
