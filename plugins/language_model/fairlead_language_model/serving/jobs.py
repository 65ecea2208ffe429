"""Work for the generation thread, done between two of its turns, where no page is in use by the kernels."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition
from typing import TypeVar

from .errors import EngineClosed

Result = TypeVar("Result")


class Jobs:
    """A queue whose lock is the engine's, so that the thread waits for jobs and requests at once."""

    def __init__(self, changed: Condition) -> None:
        self._changed = changed
        self._waiting: list[Callable[[], None]] = []
        self.closed = False

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._waiting)

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        """Have a job done soon; its result or its exception is the future's.

        Raises:
            EngineClosed: there are no more turns.
        """
        future: Future[Result] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return  # whoever asked for it has given up
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

        with self._changed:
            if self.closed:
                raise EngineClosed
            self._waiting.append(run)
            self._changed.notify_all()
        return future

    def take(self) -> list[Callable[[], None]]:
        """Return what waits, once."""
        taken, self._waiting = self._waiting, []
        return taken
