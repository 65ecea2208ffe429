"""A collection: documents with vectors, metadata and texts, searched while they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from ..errors import NotFound, TieredRetrievalError
from ..index import Progress, Sizes
from ..space import Space, check_vectors
from .applying import matching_slots
from .committing import Committer
from .documents import Id, Metadata, check_ids, check_metadata, check_texts
from .files import crc32c
from .filters import parse_filter
from .fusion import Fusion, ReciprocalRank
from .log import Log
from .maintenance import Maintenance
from .memory import MemoryBudget, used_bytes
from .opening import LOG, close_parts, open_parts
from .operations import Delete, Operation, Update, Upsert, encode
from .policy import IndexPolicy, Plan
from .recall import RecallReport, Sample, calibrated, recall_report, seen_queries
from .searching import Results, Searcher
from .settings import StoreSettings
from .snapshots import delete_snapshot, snapshots, take_snapshot
from .writer import Writer


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is kept; its vector is as it was given."""

    id: Id
    metadata: dict[str, Any]
    text: str | None
    vector: NDArray | None


@dataclass(frozen=True, slots=True)
class Deleted:
    """Documents that were deleted.

    Attributes:
        ids: of each.
        at: when, in milliseconds of Unix time.
        since: deletions before this time are forgotten; 0: none is.
        next: where the next part begins; None: this was the last.
    """

    ids: list[Id]
    at: list[int]
    since: int
    next: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """How a collection is.

    Attributes:
        count: documents.
        plan: of the index that serves.
        sizes: of the index.
        memory_bytes: of index, ids and metadata.
        disk_bytes: of vectors, database and log.
        beside: vectors that are searched beside the index.
        progress: of work in the background.
        problems: what was made up for when it was opened, and why the last work failed.
    """

    count: int
    plan: Plan
    sizes: Sizes
    memory_bytes: int
    disk_bytes: int
    beside: int
    progress: Progress
    problems: tuple[str, ...]


class Collection:
    """Documents of one space. All methods may be called by any number of threads.

    A write returns once it is durable and searchable. What it was not told of may have happened or not, as a whole.

    Args:
        folder: of a collection that was made (`Store.create`).
        settings: of the store.
        policy: which index it has.
        memory: what all collections may take.
        open_region: opens a tier by its URL.

    Raises:
        CorruptFile: a file is damaged; names it, the offset, and what can be saved.
    """

    def __init__(
        self,
        folder: Path,
        settings: StoreSettings,
        policy: IndexPolicy,
        memory: MemoryBudget,
        open_region: Callable[[str], Any],
    ) -> None:
        self.folder, self._problems = folder, list[str]()
        self._parts = open_parts(folder, open_region, self._problems)
        self.space: Space = self._parts.space
        try:
            self._log = Log(folder / LOG, segment_bytes=settings.segment_bytes, skip_damage=settings.salvage)
            committer = Committer(self._parts, self._log, memory)
            self.replayed = committer.replay()
            """Entries of the log that the last life had not applied."""
        except BaseException:
            close_parts(self._parts)
            raise
        self._problems += [str(damage) for damage in self._log.damage]
        self._writer = Writer(committer.commit, settings.waiting_bytes, f"retrieval-writer {folder.name}")
        self._searcher = Searcher(self._parts, settings.threads)
        self._maintenance = Maintenance(
            folder, self._parts, self._log, self._writer, settings, policy, memory, open_region
        )
        if self._log.damage:
            self.checkpoint()

    def submit(self, operation: Operation) -> Future[int]:
        """Queue a checked operation; the future has how many documents it wrote or deleted."""
        stamped = replace(operation, at=int(time.time() * 1000))
        return self._writer.submit(stamped, encode(stamped))

    def upsert(
        self,
        ids: Sequence[Id],
        vectors: ArrayLike,
        metadata: Sequence[Metadata | None] | None = None,
        texts: Sequence[str | None] | None = None,
    ) -> int:
        """Write documents; those that are there under these ids are replaced. Return how many.

        Args:
            ids: each once: whole numbers of 64 bits, or text.
            vectors: [ids, columns] as the space has them.
            metadata: fields of each: text, numbers, true and false, and lists of them.
            texts: of each, for search by words.

        Raises:
            BadVectors, BadDocument: names the row; nothing was written.
            BudgetExceeded: memory does not suffice; nothing was written.
            StoreFull: the disk has no room; nothing was written.
        """
        return self.submit(self.upsert_operation(ids, vectors, metadata, texts)).result()

    def upsert_operation(
        self,
        ids: Sequence[Id],
        vectors: ArrayLike,
        metadata: Sequence[Metadata | None] | None = None,
        texts: Sequence[str | None] | None = None,
    ) -> Upsert:
        """Check what `upsert` is given, for `submit`."""
        keys, rows = check_ids(ids), check_vectors(vectors, self.space)
        _check_count(keys, rows)
        return Upsert(keys, rows, check_metadata(metadata, len(keys)), check_texts(texts, len(keys)))

    def update(
        self,
        ids: Sequence[Id],
        vectors: ArrayLike | None = None,
        metadata: Sequence[Metadata | None] | None = None,
        texts: Sequence[str | None] | None = None,
    ) -> int:
        """Write parts of documents that are there: given fields are set, or unset where None; the rest stays.

        Raises:
            NotFound: an id is not there; nothing was written.
        """
        keys = check_ids(ids)
        rows = None if vectors is None else check_vectors(vectors, self.space)
        if rows is not None:
            _check_count(keys, rows)
        fields = check_metadata(metadata, len(keys), unset=True)
        return self.submit(Update(keys, rows, fields, check_texts(texts, len(keys)))).result()

    def delete(self, ids: Sequence[Id] | None = None, filter: Any = None) -> int:
        """Delete documents by id or by a filter; return how many there were."""
        if (ids is None) == (filter is None):
            raise TieredRetrievalError("delete takes ids or a filter; accepted: one of them")
        return self.submit(Delete(None if ids is None else check_ids(ids), parse_filter(filter))).result()

    def deleted(self, after: int = 0, count: int = 1000) -> Deleted:
        """Return what was deleted and not written again, a part at a time, for replicas that may have missed it."""
        catalog = self._parts.catalog
        graves = catalog.graves(after, count)
        more = after + count if len(graves) == count else None
        return Deleted([key for key, _ in graves], [at for _, at in graves], catalog.graves_since(), more)

    def delete_missed(self, ids: Sequence[Id], at: Sequence[int]) -> int:
        """Delete what another replica deleted at those times, unless written here after that; return how many."""
        old = self._parts.catalog.written_before(dict(zip(check_ids(ids), at, strict=True)))
        return self.delete(old) if old else 0

    @property
    def written_last(self) -> int:
        """When anything was written here last, in milliseconds of Unix time; 0: that is not known."""
        return self._parts.catalog.written_last()

    def search(
        self,
        vector: ArrayLike | None = None,
        text: str | Sequence[str] | None = None,
        k: int = 10,
        *,
        filter: Any = None,
        recall: float = 0.95,
        fusion: Fusion = ReciprocalRank(),
        include: Sequence[str] = ("metadata",),
    ) -> Results:
        """Return the best documents for each query.

        Args:
            vector: [columns] or [queries, columns].
            text: of one query or of each: search by words (BM25); with vectors too, both rankings are fused.
            k: documents for each query; fewer only where there are fewer.
            filter: only documents whose metadata meets it (`filters`).
            recall: to reach on average, 1: all are compared.
            fusion: of both rankings.
            include: what of the documents: ``metadata``, ``text``, ``vector``.

        Raises:
            BadVectors, BadFilter, TieredRetrievalError: names the value and what is accepted.
        """
        texts = [text] if isinstance(text, str) else text
        return self._searcher.search(vector, texts, k, parse_filter(filter), recall, fusion, include)

    def get(self, ids: Sequence[Id], include: Sequence[str] = ("metadata", "text", "vector")) -> list[Document | None]:
        """Return documents by id, in the order asked for; None for one that is not there."""
        keys, parts = check_ids(ids), self._parts
        with parts.slots.reading():
            rows = parts.catalog.rows(keys)
            texts = parts.catalog.texts([row.slot for row in rows.values()]) if "text" in include else {}
            return [
                None
                if (row := rows.get(key)) is None
                else Document(
                    key,
                    row.metadata if "metadata" in include else {},
                    texts.get(row.slot),
                    parts.file.rows[row.slot].copy() if "vector" in include else None,
                )
                for key in keys
            ]

    def count(self, filter: Any = None) -> int:
        """Return how many documents there are, or meet a filter."""
        condition = parse_filter(filter)
        return self._parts.served.count if condition is None else len(matching_slots(self._parts, condition))

    def ids(self, after: int = 0, count: int = 1000) -> tuple[list[Id], int | None]:
        """Return ids in no particular order, a part at a time: those from a place on, and the place after them."""
        live = self._parts.served.live_slots()
        part = live[live >= after][:count]
        more = len(part) == count and part[-1] != live[-1]
        return self._parts.ids.of(part.tolist()), int(part[-1]) + 1 if more else None

    def snapshot(self, name: str) -> Path:
        """Copy the collection as it is at one moment into a folder of its own; writes go on."""
        return take_snapshot(self.folder, self._parts, name)

    def snapshots(self) -> list[str]:
        """Return the names of the snapshots."""
        return snapshots(self.folder)

    def delete_snapshot(self, name: str) -> None:
        """Remove a snapshot; raises NotFound where there is none."""
        delete_snapshot(self.folder, name)

    def recall_report(
        self, k: int = 10, queries: int = 100, recall: float = 0.95, seed: int = 0, sample: Sample = "vectors"
    ) -> RecallReport:
        """Measure recall against exact search on a sample of the vectors, or of the queries that came of late."""
        return recall_report(self._searcher, k, queries, recall, seed, sample)

    @property
    def seen(self) -> tuple[int, int]:
        """Different queries of late that recall can be measured on, and how many came in all."""
        return len(self._searcher.seen.rows()), self._searcher.seen.came

    def calibrate(
        self, queries: ArrayLike | None = None, recall: float = 0.95, seed: int = 0
    ) -> tuple[RecallReport, RecallReport]:
        """Measure anew what effort a recall takes, by queries; return recall before and after.

        A build measures it on vectors that it holds out. Queries may look otherwise (questions, where passages are
        stored): then a search finds less than it was asked for, until the index has been measured by some of them.

        Args:
            queries: [n, columns], 40 and more: half to measure by, half to check; None: those that came of late.
            recall: that is checked.
            seed: of what is drawn.

        Raises:
            BadVectors, TieredRetrievalError: they are not of the space, or too few.
            TierError: the index's tier does not answer; what a recall takes stays as it was.
        """
        rows = seen_queries(self._searcher) if queries is None else check_vectors(queries, self.space, "queries")
        return self._maintenance.calibrate(lambda: calibrated(self._searcher, rows, recall, seed))

    def maintain(self) -> Progress:
        """Do a step of the work that otherwise goes on in the background; return what is left."""
        return self._maintenance.step()

    def rebuild(self, plan: Plan) -> None:
        """Build an index by a plan while the present one serves, and let it serve."""
        self._maintenance.rebuild(plan)

    def move(self, region: str) -> None:
        """Move what the index has in a tier to another region, by its URL, while searches go on."""
        self._maintenance.move(region)

    def checkpoint(self) -> None:
        """Make everything durable without the log and cut the log."""
        self._maintenance.checkpoint()

    def verify(self) -> list[str]:
        """Check the database and every vector's checksum; return what is wrong."""
        problems = self._parts.catalog.problems()
        with self._parts.slots.reading():
            for row in self._parts.catalog.all_rows():
                if crc32c(self._parts.file.rows[row.slot].tobytes()) != row.sum:
                    problems.append(f"{self._parts.file.path}: the vector of {row.id!r} (row {row.slot}) is damaged")
        return problems

    def status(self) -> Status:
        """Return how the collection is."""
        parts, serving = self._parts, self._parts.served.serving
        on_disk = parts.file.bytes + parts.catalog.path.stat().st_size + self._log.bytes
        last = self._maintenance.problem
        return Status(
            count=parts.served.count,
            plan=serving.plan,
            sizes=serving.index.sizes(),
            memory_bytes=used_bytes(parts),
            disk_bytes=on_disk,
            beside=parts.served.beside.count,
            progress=self._maintenance.progress,
            problems=(*self._problems, *([last] if last else [])),
        )

    @property
    def memory_bytes(self) -> int:
        """Of index, ids and metadata."""
        return used_bytes(self._parts)

    def close(self) -> None:
        """Write what waits, then close the files."""
        self._writer.close()
        self._log.close()
        close_parts(self._parts)


def _check_count(keys: list[Id], rows: NDArray) -> None:
    if len(keys) != len(rows):
        raise TieredRetrievalError(f"vectors: {len(rows)} rows for {len(keys)} ids; accepted: one for each id")


__all__ = ["Collection", "Deleted", "Document", "NotFound", "Status"]
