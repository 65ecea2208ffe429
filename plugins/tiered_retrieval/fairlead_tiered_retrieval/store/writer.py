"""One thread that writes, and a queue before it: writers that wait are served together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ..errors import StoreClosed
from .operations import Operation

#: Of operations that are written with one sync.
_TOGETHER, _TOGETHER_BYTES = 512, 32 << 20


@dataclass(slots=True, eq=False)
class Pending:
    """An operation, and who waits for it."""

    operation: Operation
    entry: bytes
    future: Future[int] = field(default_factory=Future)


class Writer:
    """Commits operations in the order in which they came, several at once.

    Args:
        commit: writes operations and sets their futures' results; what it raises is set for those that have none.
        waiting_bytes: of operations that wait, at most; `submit` blocks for more.
        name: of the thread.
    """

    def __init__(self, commit: Callable[[Sequence[Pending]], None], waiting_bytes: int, name: str) -> None:
        self._commit, self._most, self._name = commit, waiting_bytes, name
        self._queue: queue.SimpleQueue[Pending | Callable[[], None] | None] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._waiting, self._closed = 0, False
        self._thread: threading.Thread | None = None

    def submit(self, operation: Operation, entry: bytes) -> Future[int]:
        """Queue an operation; the future is done once it is durable and searchable."""
        pending = Pending(operation, entry)
        with self._room:
            self._room.wait_for(lambda: self._closed or not self._waiting or self._waiting + len(entry) <= self._most)
            self._start()
            self._waiting += len(entry)
            self._queue.put(pending)
        return pending.future

    def call(self, work: Callable[[], Any]) -> Any:
        """Do something in the writer's thread, between two commits; return what it returns."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        with self._room:
            self._start()
            self._queue.put(run)
        return done.result()

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._room:
            if self._closed:
                return
            self._closed = True
            self._room.notify_all()
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._closed:
            raise StoreClosed("the collection is closed; accepted: writes while it is open")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            if not isinstance(first, Pending):
                first()
                continue
            batch, after = self._gathered(first)
            self._commit_all(batch)
            if after is None:
                return
            if not isinstance(after, bool):
                after()

    def _gathered(self, first: Pending) -> tuple[list[Pending], Callable[[], None] | bool | None]:
        """Take what waits with the first; also what ended it: work to do after, or the end."""
        batch, size = [first], len(first.entry)
        while len(batch) < _TOGETHER and size < _TOGETHER_BYTES:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(more, Pending):
                return batch, more
            batch.append(more)
            size += len(more.entry)
        return batch, True

    def _commit_all(self, batch: list[Pending]) -> None:
        try:
            self._commit(batch)
        except BaseException as error:
            for pending in batch:
                if not pending.future.done():
                    pending.future.set_exception(error)
        with self._room:
            self._waiting -= sum(len(pending.entry) for pending in batch)
            self._room.notify_all()
