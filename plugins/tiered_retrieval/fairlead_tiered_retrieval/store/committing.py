"""How a batch of operations becomes durable and visible, or did not happen."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from ..errors import BudgetExceeded, CorruptFile, StoreClosed, StoreFull, TieredRetrievalError
from .applying import Effect, Parts, commit, restore_rows, show
from .log import Log
from .memory import MemoryBudget, estimated_bytes
from .operations import Delete, Operation, decode
from .writer import Pending

_log = logging.getLogger(__name__)
#: Entries of the log that are applied in one transaction after a crash, and their bytes.
_REPLAYED, _REPLAYED_BYTES = 512, 8 << 20


class Committer:
    """Writes to the log, then applies; for one thread.

    Args:
        parts: of the collection.
        log: of the collection.
        memory: what all collections may take.
    """

    def __init__(self, parts: Parts, log: Log, memory: MemoryBudget) -> None:
        self._parts, self._log, self._memory = parts, log, memory
        self._broken: BaseException | None = None

    def commit(self, batch: Sequence[Pending]) -> None:
        """Commit operations; each future gets its count or its error."""
        admitted = [pending for pending in batch if self._admitted(pending)]
        for part in _apart(admitted):
            self._commit_together(part)

    def replay(self) -> int:
        """Apply what the log holds and the database does not; return how many entries."""
        applied, durable = self._parts.catalog.state("applied"), self._parts.catalog.state("durable")
        if self._log.first > durable + 1 and self._log.next > self._log.first:
            self._log.missing(durable + 1)
        waiting: list[tuple[int, Operation]] = []
        size = count = 0
        for number, entry in self._log.replay(durable):
            operation = self._decoded(number, entry)
            if number <= applied:
                restore_rows(self._parts, number, operation)
                continue
            alone = _is_alone(operation)
            if waiting and (alone or len(waiting) >= _REPLAYED or size >= _REPLAYED_BYTES):
                self._apply(waiting)
                waiting, size = [], 0
            waiting.append((number, operation))
            size, count = size + len(entry), count + 1
            if alone:
                self._apply(waiting)
                waiting, size = [], 0
        if waiting:
            self._apply(waiting)
        self._log.begin_after(max(applied, durable))
        return count

    def _decoded(self, number: int, entry: bytes) -> Operation:
        try:
            return decode(entry, self._parts.space)
        except ValueError as error:
            raise CorruptFile(self._log.folder, 0, f"entry {number}: {error}", "entries before it are kept") from None

    def _apply(self, entries: Sequence[tuple[int, Operation]]) -> None:
        show(self._parts, commit(self._parts, entries))

    def _admitted(self, pending: Pending) -> bool:
        if self._broken is not None:
            pending.future.set_exception(StoreClosed(f"writes have stopped: {self._broken}; accepted: none"))
            return False
        try:
            more = estimated_bytes(self._parts, pending.operation)
            if more:
                self._memory.check(f"a write of {len(pending.entry)} bytes", more)
        except BudgetExceeded as error:
            pending.future.set_exception(error)
            return False
        return True

    def _commit_together(self, batch: Sequence[Pending]) -> None:
        first = self._log.append([pending.entry for pending in batch])
        try:
            effect = commit(self._parts, [(first + row, pending.operation) for row, pending in enumerate(batch)])
        except BaseException as error:
            self._undo(error)
            if len(batch) == 1 or isinstance(error, StoreFull):
                raise
            _log.warning("a batch of %d writes failed, each is tried alone: %s", len(batch), error)
            for pending in batch:
                self._commit_alone(pending)
            return
        self._show(effect)
        for pending, count in zip(batch, effect.counts, strict=True):
            if isinstance(count, TieredRetrievalError):
                pending.future.set_exception(count)
            else:
                pending.future.set_result(count)

    def _show(self, effect: Effect) -> None:
        try:
            show(self._parts, effect)
        except BaseException as error:
            # It is durable and cannot be taken back, but memory does not show it: only opening anew does.
            self._broken = error
            raise StoreClosed(f"writes have stopped: {error!r}; accepted: opening the store anew") from error

    def _commit_alone(self, pending: Pending) -> None:
        try:
            self._commit_together([pending])
        except Exception as error:
            pending.future.set_exception(error)

    def _undo(self, error: BaseException) -> None:
        """Take the append back. Where that fails the entry would be applied after a restart: no more is written."""
        try:
            self._log.undo()
        except StoreFull:
            self._broken = error
            raise


def _is_alone(operation: Operation) -> bool:
    """A filter is answered from memory, which shows only what was committed before."""
    return isinstance(operation, Delete) and operation.where is not None


def _apart(batch: Sequence[Pending]) -> Iterator[Sequence[Pending]]:
    together: list[Pending] = []
    for pending in batch:
        if _is_alone(pending.operation):
            if together:
                yield together
            yield [pending]
            together = []
        else:
            together.append(pending)
    if together:
        yield together
