"""The index that serves, and how another takes its place while searches go on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..index import Found, Index, Progress
from .policy import Plan
from .side_index import SideIndex
from .vector_file import VectorFile

_log = logging.getLogger(__name__)
Slots = NDArray[np.int64]
Mask = NDArray[np.bool_]
#: Additions from which on they are a batch of their own, and do not wait for others.
_MANY = 128
#: Vectors that wait beside the index at most; writers that bring more take part in its work.
_WAITING = 4096
#: Of those, how many are added at a time, seconds of an index's own work at a time, and of the others' turn in between.
_AT_ONCE, _PIECE_S, _TURN_S = 16, 0.002, 0.0002
#: Changes that a new index makes up for while writers wait; more are made up for before.
_FEW = 256


@dataclass(frozen=True, slots=True)
class Serving:
    """What searches use: one object, so that they see all of it from one moment."""

    index: Index
    plan: Plan
    built_with: int


class ServedIndex:
    """An index, and beside it what it has not taken yet: what comes in small pieces to one that takes many better, and
    what it could not take.

    Searches take no lock. Whoever changes the index holds one, for which writers wait and searches do not.

    Args:
        file: of the vectors.
        serving: the index to begin with.
        live: slots that documents have, all of them in the index.
    """

    def __init__(self, file: VectorFile, serving: Serving, live: Slots) -> None:
        self._file, self.serving = file, serving
        self.beside = SideIndex(file)
        self.live = np.zeros(int(live.max()) + 1 if len(live) else 0, bool)
        self.live[live] = True
        self.count = len(live)
        self.entry = 0
        """Of the log: the last one that is shown."""
        self.changes = 0
        """Slots added or removed since the index was built or loaded."""
        self.measured = False
        """Whether the index was measured anew since it was saved."""
        self._journal: list[tuple[Slots, Slots]] | None = None
        self._meanwhile: list[Slots] | None = None
        """What was removed while slots went over from beside the index into it."""
        self._lock = threading.RLock()

    def apply(self, removed: Slots, added: Slots, entry: int) -> None:
        """Remove slots and add others, whose rows are in the file; searches that begin now see it."""
        with self._lock:
            self._change(self.serving.index, removed, added)
            if self._journal is not None:
                self._journal.append((removed, added))
            self._mark(removed, added)
            self.entry = entry
            self.changes += len(removed) + len(added)

    def live_slots(self) -> Slots:
        """Return the slots that documents have, ascending."""
        # NumPy counts before it fills: of an array that changes meanwhile it returns places that are none.
        return np.flatnonzero(self.live.copy())

    def search(self, queries: NDArray, k: int, *, recall: float, allowed: NDArray | None, threads: int) -> Found:
        """Search as `Index.search` does, over all that is there."""
        # Those beside the index first: what goes over to it meanwhile is found twice and not missed.
        beside, waiting = self.beside, self.beside.slots
        found = self.serving.index.search(queries, k, recall=recall, allowed=allowed, threads=threads)
        if not len(waiting):
            return found
        return _merged(found, beside.search(waiting, queries, k, allowed), k)

    def rebuild(self, plan: Plan, build: Callable[[Slots], Index]) -> None:
        """Build an index while the present one serves, let it make up for what changed meanwhile, and change over.

        The caller must hold `SlotAllocator.reading`, so that no row changes that the build reads.
        """
        with self._lock:
            slots, self._journal = self.live_slots(), []
        try:
            index = build(slots)
            while len(journal := self._taken_journal()) > _FEW:
                for removed, added in journal:
                    self._change_new(index, removed, added)
            with self._lock:
                for removed, added in [*journal, *self._journal]:
                    self._change_new(index, removed, added)
                self.serving = Serving(index, _with_reason(plan, index), len(slots))
                self.beside, self.changes = SideIndex(self._file), 0
        finally:
            self._journal = None

    def maintain(self, budget_s: float) -> Progress:
        """Let the index take what waits beside it, and work on what removals and additions left behind.

        It does so in pieces, between which writers that wait have their turn; those of an index that is `batched` need
        not wait. One caller at a time.
        """
        end = time.perf_counter() + budget_s
        while True:
            with nullcontext() if self.serving.index.batched else self._lock:
                progress = self._piece()
            if progress.finished or time.perf_counter() >= end:
                return progress
            time.sleep(_TURN_S)

    def _piece(self) -> Progress:
        index = self.serving.index
        with self._lock:
            waiting = np.setdiff1d(self.beside.slots, index.busy(), assume_unique=True)
            some, self._meanwhile = waiting[:_AT_ONCE], []
        added = len(some) > 0 and self._added(some)
        with self._lock:
            gone = np.concatenate([some[:0], *(self._meanwhile or [])])
            self._meanwhile = None
            if added:
                index.remove(np.intersect1d(gone, some))
                self.beside.remove(some)
        if added and len(some) < len(waiting):
            return Progress(len(some), len(waiting), "adding what waits beside the index")
        return index.maintain(_PIECE_S)

    def calibrate(self, queries: NDArray, true: Slots) -> None:
        """Let the index measure its effort by these queries (`Index.calibrate`)."""
        self.serving.index.calibrate(queries, true)
        self.measured = True

    def exclusively(self, work: Callable[[Index], Any]) -> Any:
        """Do something with the index while nothing changes it; searches go on."""
        with self._lock:
            return work(self.serving.index)

    def _taken_journal(self) -> list[tuple[Slots, Slots]]:
        with self._lock:
            journal, self._journal = self._journal or [], []
            return journal

    def _change(self, index: Index, removed: Slots, added: Slots) -> None:
        if len(removed):
            index.remove(removed)
            self.beside.remove(removed)
            if self._meanwhile is not None:
                self._meanwhile.append(removed)
        if not len(added):
            return
        wait = index.batched and len(added) < _MANY and self.beside.count < _WAITING
        if wait or not self._added(added):
            self.beside.add(added)

    def _change_new(self, index: Index, removed: Slots, added: Slots) -> None:
        index.remove(removed)
        # Of those, some may be gone again, as later changes say; their rows are still in the file.
        index.add(added, self._file.rows[added])

    def _added(self, slots: Slots) -> bool:
        index = self.serving.index
        if len(np.intersect1d(slots, index.busy())):
            return False
        try:
            index.add(slots, self._file.rows[slots])
        except Exception as error:
            # They are written and must be found: memory or tier may have room or answer again later.
            _log.warning("%d vectors are searched beside the index: %s", len(slots), error)
            index.remove(slots)
            return False
        return True

    def _mark(self, removed: Slots, added: Slots) -> None:
        live = self.live
        if len(added) and added.max() >= len(live):
            live = np.zeros(max(64, int(added.max()) + 1, len(live) * 3 // 2), bool)
            live[: len(self.live)] = self.live
        live[removed], live[added] = False, True
        self.live = live
        self.count += len(added) - len(removed)


def _with_reason(plan: Plan, index: Index) -> Plan:
    """The plan with what the index itself decided, such as the lists of a vector."""
    own = getattr(index, "reason", "")
    return replace(plan, reason=f"{plan.reason}; {own}") if own and own not in plan.reason else plan


def _merged(one: Found, other: Found, k: int) -> Found:
    twice = (other.slots[:, :, None] == one.slots[:, None, :]).any(axis=2)
    beside = np.where(twice, np.float32(np.inf), other.distances)
    slots = np.hstack((one.slots, np.where(twice, -1, other.slots)))
    distances = np.hstack((one.distances, beside))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return Found(
        np.take_along_axis(slots, order, 1),
        np.take_along_axis(distances, order, 1),
        one.reads,
        one.round_trips,
        one.tier_bytes,
        one.complete and other.complete,
    )
