"""The cluster index of a collection."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import set_threads
from fairlead_kernels.backend import threads as kernel_threads
from fairlead_kernels.vector_lists import Closure, ListEffort, Lists, ListsFound, ListStream

from ..bitmap import number_in
from ..distances import nearest
from ..errors import CorruptFile, NotFound, StoreFull, TieredRetrievalError
from ..index import Found, Limits, Progress, Sizes, Told
from ..space import Space
from ..tiers.packed import in_memory, in_tier, packed
from ..tiers.region import Region, TierError, TierLost
from .calibration import (
    FILE_READ_COST,
    NEIGHBOURS,
    QUERIES,
    READ_COST,
    Measured,
    effort_for,
    from_json,
    measure,
    to_json,
)
from .rows import check_region, memory_for, packed_for, pieces, spread
from .tier_pool import TierPool
from .training import CHUNK, LIST_SIZE, PARTS, SAMPLE, adopted, check_memory, chosen_closing, spare_memory, trained

#: Files are read in blocks: what lies this near is read along.
_FILE_GAP = 2048
#: Searches of so many queries, with so many exact vectors each, join those of others that are under way.
_FEW, _MOST_READS = 8, 256


class ListIndex:
    """Codes in memory, exact vectors in a region. Attributes and methods as `index.Index` has them.

    Args:
        space: of the vectors.
        lists: the kernel's index.
        region: that its rows lie in.
        owned: whether the region is this index's own memory, which grows as needed.
        table: what recall costs.
        list_size: that lists are kept near.
        reason: why vectors are in further lists, or are not.
    """

    kind = "lists"
    batched = False

    def __init__(
        self,
        space: Space,
        lists: Lists,
        region: Region,
        owned: bool,
        table: list[Measured],
        list_size: int,
        reason: str = "",
    ) -> None:
        self.space, self.table, self.reason = space, table, reason
        self._lists, self._pool, self._owned, self._list_size = lists, TierPool(region), owned, list_size

    @classmethod
    def build(
        cls,
        space: Space,
        slots: NDArray[np.int64],
        vectors: NDArray,
        *,
        limits: Limits = Limits(),
        region: Any = None,
        told: Told | None = None,
        list_size: int = LIST_SIZE,
        code_bytes: float | None = None,
        copies: int | None = None,
    ) -> ListIndex:
        """Train on a sample, write the vectors into the region by cluster, measure what recall costs.

        Args:
            space: of the vectors.
            slots: ascending.
            vectors: by slot.
            limits: of memory, threads and chance.
            region: for the vectors; None: this process's memory.
            told: how far the build is.
            list_size: vectors of a list on average.
            code_bytes: of a vector's codes at most; None: 0.06 to 0.0655 of four bytes a dimension.
            copies: further lists that a vector is entered in at most, by its codes (closure, 0 to 7); None: one, if
                that saves scanning on a sample and its memory is there.

        Raises:
            BudgetExceeded: before anything is allocated, where the limit is too low.
            TieredRetrievalError: there are no vectors, or the region is too small.
        """
        if not len(slots):
            raise TieredRetrievalError("an index of lists of 0 vectors; accepted: 1 and more, or a flat index")
        check_memory(space, slots, limits, region, code_bytes)
        tell = told or (lambda share: None)
        before = kernel_threads()
        set_threads(max(1, min(256, limits.threads)))
        try:
            random = np.random.default_rng(limits.seed)
            sample = vectors[np.sort(random.permutation(slots)[:SAMPLE])]
            training = trained(space, sample, len(slots), list_size, code_bytes, limits.seed)
            spare = spare_memory(space, slots, limits, region, code_bytes) / len(slots)
            chosen = chosen_closing(space, training, sample, list_size, copies, spare, limits.seed)
            lists = Lists(training, chosen.closure)
            tell(0.2)
            own = region is None
            place = memory_for(space, len(slots) + len(slots) // 16 + 16) if own else packed_for(region, space, sample)
            index = cls(space, lists, place, own, [], list_size, chosen.reason)
            held = np.sort(random.permutation(slots)[: min(QUERIES, len(slots) // 4)])
            # All have their places first: those held out come back to theirs.
            index._fill(slots, vectors, tell)
            index.remove(held)
            index._calibrate(held, vectors, slots, limits.threads)
            index.add(held, vectors[held])
        finally:
            set_threads(before)
        tell(1.0)
        return index

    @property
    def count(self) -> int:
        """Vectors that can be found."""
        return self._lists.count

    def search(
        self,
        queries: NDArray,
        k: int,
        *,
        recall: float = 0.95,
        allowed: NDArray[np.uint8] | None = None,
        threads: int = 1,
    ) -> Found:
        """Return the nearest k of each query; where the tier does not answer, by the codes alone (not `complete`)."""
        lists = self._lists.lists
        effort = self._effort(recall, k)
        if allowed is not None:
            # The nearest of those that are allowed lie in more lists, but in much fewer than as many more.
            share = max(number_in(allowed), 1) / max(self.count, 1)
            effort = replace(effort, probes=min(lists, int(np.ceil(effort.probes / min(1.0, share) ** 0.5))))
        found, complete = self._search(queries, k, effort, allowed, threads)
        short = np.flatnonzero(found.slots[:, -1] < 0) if min(k, self.count) else np.empty(0, np.int64)
        if len(short) and effort.probes < lists:
            again, whole = self._search(queries[short], k, replace(effort, probes=lists), allowed, threads)
            for into, more in zip(found, again, strict=True):
                into[short] = more
            complete = complete and whole
        tier_bytes = in_tier(self._pool.region, found.tier_bytes)
        return Found(found.slots, found.distances, found.reads, found.round_trips, tier_bytes, complete)

    def replay(
        self, queries: NDArray, k: int, due: NDArray[np.float64], *, recall: float = 0.95, threads: int = 1
    ) -> tuple[Found, NDArray[np.float64]]:
        """Answer queries, each by itself, that come at given seconds from now (ascending): in turn those of `queries`.

        Returns:
            what was found [due, k], and seconds from when each came until it was answered.

        Raises:
            TieredRetrievalError: k or recall ask for too many exact vectors; there are no compiled kernels.
            TierError: the tier does not answer.
        """
        effort = self._effort(recall, k)
        with self._pool.streaming(threads, self._stream) as stream:
            if stream is None or max(k, effort.reads) > _MOST_READS:
                raise TieredRetrievalError(f"replay: needs compiled kernels and at most {_MOST_READS} reads a query")
            f, waited = stream.replay(queries, k, self._suited(effort), due)
        return Found(f.slots, f.distances, f.reads, f.round_trips, in_tier(self._pool.region, f.tier_bytes)), waited

    def add(self, slots: NDArray[np.int64], vectors: NDArray) -> None:
        """Add vectors to their nearest lists; own memory grows where it has no room."""
        names = np.ascontiguousarray(slots, np.uint32)
        for start in range(0, len(slots), 256):
            some, rows = names[start : start + 256], np.ascontiguousarray(vectors[start : start + 256])
            if self._owned and (self._lists.rows + 16 * len(some)) * self.space.bytes > self._pool.region.size:
                self._grow(16 * len(some))
            with self._pool.lent(1) as tiers:
                try:
                    self._lists.add(tiers[0], some, rows)
                except ValueError as error:
                    if "no room" not in str(error):
                        raise
                    raise StoreFull(f"{self._pool.region.url}: {error}; accepted: a move to a larger one") from error

    def remove(self, slots: NDArray[np.int64]) -> None:
        """Remove slots; their rows are used again."""
        self._lists.remove(np.ascontiguousarray(slots, np.uint32))

    def busy(self) -> NDArray[np.int64]:
        """Return none: changes wait for the queries in flight."""
        return np.zeros(0, np.int64)

    def vectors(self, slots: NDArray[np.int64]) -> NDArray:
        """Return exact vectors from the tier."""
        try:
            with self._pool.lent(1) as tiers:
                return self._lists.vectors(tiers[0], np.ascontiguousarray(slots, np.uint32))
        except IndexError as error:
            raise NotFound(f"{error} in the index") from error

    def sizes(self) -> Sizes:
        """Return what the index takes; own memory counts as the tier's."""
        region = self._pool.region
        rows = self._lists.rows * self.space.bytes
        return Sizes(self._lists.dram_bytes + in_memory(region), in_tier(region, rows))

    @property
    def requests(self) -> int:
        """Reads that the tier was asked for since the vectors are there: of rows that lie side by side it is one."""
        return self._pool.requests

    def more_bytes(self, count: int) -> int:
        """Return what `count` more vectors would add at most."""
        each = self._lists.training.code_bytes + 8
        if most := self._lists.closure.copies:
            each += 4 + most * (self._lists.training.row_bytes + 12)
        blocks = 16 * min(count, len(self._lists.sizes())) * each
        # While own memory grows, both are there.
        own = (self._lists.rows + 16 * count) * self.space.bytes * 2 if self._owned else 0
        return int(1.2 * count * each) + blocks + own

    def maintain(self, budget_s: float) -> Progress:
        """Split lists that have grown, dissolve those that have shrunk, repack those with holes."""
        end, done = time.monotonic() + budget_s, 0
        while time.monotonic() < end:
            if self._owned and (self._lists.rows + 4 * self._list_size) * self.space.bytes > self._pool.region.size:
                self._grow(4 * self._list_size)
            with self._pool.lent(1) as tiers:
                if not self._lists.maintain(tiers[0], self._list_size):
                    break
            done += 1
        return Progress(done, done + self._lists.wanting(self._list_size), "balancing lists")

    def calibrate(self, queries: NDArray, true: NDArray[np.int64]) -> None:
        """Measure with these queries what recall costs; raises TierError where the tier does not answer."""
        self.table = self._measured(queries, true, 1)

    def save(self, folder: Path) -> None:
        """Write codes, training, table and rows: a region's rows move on after this, what is saved must not."""
        t = self._lists.training
        arrays = {name: getattr(t, name) for name in PARTS} | self._lists.saved()
        np.savez(folder / "lists.npz", **arrays)
        with (folder / "rows.bin").open("wb") as file:
            size = self._lists.rows * self.space.bytes
            for start, length in pieces(self.space, size):
                file.write(self._pool.region.read(start, length))
        codes = {"bytes_dims": t.bytes_dims, "nibble_dims": t.nibble_dims, "tail": t.tail}
        content = {"codes": codes, "list_size": self._list_size, "table": to_json(self.table)}
        content |= {"closure": asdict(self._lists.closure), "reason": self.reason}
        (folder / "lists.json").write_text(json.dumps(content))

    @classmethod
    def load(cls, folder: Path, space: Space, *, region: Any = None) -> ListIndex:
        """Read what `save` wrote, and write its rows into the region."""
        try:
            content = json.loads((folder / "lists.json").read_text())
            with np.load(folder / "lists.npz", allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            # Of an index that was saved before there was closure nothing is said about it.
            closure = Closure(**content.get("closure", {}))
            lists = adopted(space, content["codes"], arrays, closure)
            table = from_json(content["table"])
            size = (folder / "rows.bin").stat().st_size
            if size != lists.rows * space.bytes or not table:
                raise ValueError(f"{size} bytes of rows, {lists.rows * space.bytes} are said")
        except (OSError, ValueError, EOFError, MemoryError, KeyError, TypeError, BadZipFile) as error:
            problem = (str(error).splitlines() or ["?"])[0]
            raise CorruptFile(folder / "lists.npz", 0, problem, "the vectors are kept elsewhere") from error
        own = region is None
        rows = np.memmap(folder / "rows.bin", np.uint8, "r") if size else np.zeros(0, np.uint8)
        place = memory_for(space, lists.rows + 256) if own else packed_for(region, space, rows)
        check_region(place, size)
        for start, length in pieces(space, size):
            place.write(start, np.asarray(rows[start : start + length]))
        return cls(space, lists, place, own, table, int(content["list_size"]), str(content.get("reason", "")))

    def move(self, region: Any) -> None:
        """Copy the rows to another region, read them twice to be sure, and search there from then on."""
        self._copy_to(region)
        self._owned = False

    def _copy_to(self, region: Region) -> None:
        size = self._lists.rows * self.space.bytes
        region = packed(region, self.space.element, self.space.dim, self._sampled)
        check_region(region, size)
        for start, length in pieces(self.space, size):
            piece = self._pool.region.read(start, length)
            region.write(start, piece)
            if not np.array_equal(region.read(start, len(piece)), piece):
                raise TieredRetrievalError(f"{region.url}: holds other bytes than were written at {start}")
        self._pool.switch(region)

    def _sampled(self) -> NDArray:
        """Vectors from everywhere in the region, [n, dim]."""
        places = spread(self._lists.rows)
        return (
            self._pool.region.read_batch(places * self.space.bytes, self.space.bytes)
            .view(np.float32)
            .reshape(-1, self.space.dim)
        )

    def _grow(self, rows: int) -> None:
        self._copy_to(memory_for(self.space, (self._lists.rows + rows) * 5 // 4))

    def _search(
        self, queries: NDArray, k: int, effort: ListEffort, allowed: NDArray[np.uint8] | None, threads: int
    ) -> tuple[ListsFound, bool]:
        try:
            if len(queries) <= _FEW and max(k, effort.reads) <= _MOST_READS and self._pool.searched:
                with self._pool.streaming(max(1, threads), self._stream) as stream:
                    if stream is not None:
                        return stream.search(queries, k, self._suited(effort), allowed), True
            with self._pool.lent(max(1, threads)) as tiers:
                return self._lists.search(tiers, queries, k, self._suited(effort), allowed), True
        except TierError:
            # Codes are in memory: what they say is better than nothing, and is marked as such.
            spare = memory_for(self.space, self._lists.rows + 1)
            given = replace(effort, exact=False)
            return self._lists.search([spare.open_native()], queries, k, given, allowed), False

    def _stream(self, region: Region, tiers: Sequence[Any]) -> ListStream | None:
        return self._lists.stream(tiers, most_reads=_MOST_READS, gap=_gap(region))

    def _effort(self, recall: float, k: int) -> ListEffort:
        read_cost = FILE_READ_COST if self._pool.region.kind == "file" else READ_COST
        return effort_for(self.table, recall, k, read_cost)

    def _suited(self, effort: ListEffort) -> ListEffort:
        return replace(effort, gap=_gap(self._pool.region))

    def _fill(self, slots: NDArray[np.int64], vectors: NDArray, tell: Told) -> None:
        """Write vectors list by list, in each along its main direction."""
        into, along = np.empty(len(slots), np.uint32), np.empty(len(slots), np.float32)
        for start in range(0, len(slots), CHUNK):
            part = slice(start, start + CHUNK)
            into[part], along[part] = self._lists.assign(vectors[slots[part]])
            tell(0.2 + 0.3 * start / len(slots))
        order = np.lexsort((along, into))
        with self._pool.lent(1) as tiers:
            step = max(1, CHUNK // self._list_size)
            starts = [0, *(np.flatnonzero(np.diff(into[order])) + 1)[step::step]]
            for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
                some = order[start:end]
                self._add_dense(tiers[0], slots[some], vectors, into[some])
                tell(0.5 + 0.3 * end / len(order))

    def _add_dense(self, tier: Any, slots: NDArray[np.int64], vectors: NDArray, into: NDArray[np.uint32]) -> None:
        try:
            self._lists.add(tier, slots.astype(np.uint32), np.ascontiguousarray(vectors[slots]), into)
        except ValueError as error:
            if "no room" not in str(error):
                raise
            region = self._pool.region
            raise TieredRetrievalError(f"{region.url}: {region.size} bytes are too few for the vectors") from error

    def _calibrate(self, held: NDArray[np.int64], vectors: NDArray, slots: NDArray[np.int64], threads: int) -> None:
        if not len(held):
            self.table = [Measured(ListEffort(probes=1 << 20, candidates=1 << 10, reads=50), 1.0, 0.0, 0.0)]
            return
        queries = np.ascontiguousarray(vectors[held])
        exact = nearest(queries, vectors, np.setdiff1d(slots, held), NEIGHBOURS, self.space)[0]
        self.table = self._measured(queries, exact, threads)

    def _measured(self, queries: NDArray, exact: NDArray[np.int64], threads: int) -> list[Measured]:
        def tried(effort: ListEffort) -> ListsFound:
            found, complete = self._search(queries, NEIGHBOURS, effort, None, threads)
            if not complete:
                # Measured by codes alone, every effort would seem too little from then on.
                url = self._pool.region.url
                raise TierLost(f"{url}: does not answer; what recall takes stays as it was", url)
            return found

        return measure(tried, exact, len(self._lists.sizes()), 0)


def _gap(region: Region) -> int:
    return _FILE_GAP if region.kind == "file" else 0
