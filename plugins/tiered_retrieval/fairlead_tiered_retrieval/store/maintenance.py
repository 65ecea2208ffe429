"""Work in the background: durable checkpoints, saved indexes, better indexes. Searches go on through all of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import BudgetExceeded, StoreClosed, TieredRetrievalError
from ..index import Index, Limits, Progress, Told
from .applying import Parts
from .index_folder import save_index
from .log import Log
from .memory import MemoryBudget
from .opening import INDEX
from .policy import FLAT, IndexPolicy, Plan, Situation, index_kind
from .scan_index import ScanIndex
from .served_index import Serving
from .settings import StoreSettings
from .writer import Writer

T = TypeVar("T")
_logger = logging.getLogger(__name__)
#: Of an index's own work at a time: writers wait so long.
_SLICE_S = 0.02
#: Between two steps of one round, and steps of one collection in it.
_PAUSE_S, _STEPS = 0.005, 100
#: How long deletions are remembered for replicas that are away.
GRAVES_S = 7 * 86_400


class Maintenance:
    """What is to be done for one collection, a step at a time.

    Args:
        folder: of the collection.
        parts: of the collection.
        log: of the collection.
        writer: between whose commits some of it is done.
        settings: of the store.
        policy: which index there should be.
        memory: what all collections may take.
        open_region: opens a tier by its URL.
    """

    def __init__(
        self,
        folder: Path,
        parts: Parts,
        log: Log,
        writer: Writer,
        settings: StoreSettings,
        policy: IndexPolicy,
        memory: MemoryBudget,
        open_region: Callable[[str], Any],
    ) -> None:
        self._folder, self._parts, self._log, self._writer = folder, parts, log, writer
        self._settings, self._policy, self._memory, self._open_region = settings, policy, memory, open_region
        self._one = threading.Lock()
        self._failed: tuple[Plan, int] | None = None
        self.progress = Progress()
        self.problem: str | None = None
        """Why the last step failed, if it did."""

    def step(self) -> Progress:
        """Do what is most needed, some of it; return what is left. One caller at a time, others wait."""
        with self._one:
            served = self._parts.served
            self._rest_over()
            if (plan := self._wanted_plan()) is not None:
                self._rebuild(plan)
            elif self._log.bytes > self._settings.log_bytes:
                self._checkpoint()
            elif served.serving.plan.kind != FLAT and served.changes > self._settings.save_after * served.count:
                self._save()
            self.progress = served.maintain(_SLICE_S)
            return self.progress

    def rebuild(self, plan: Plan) -> None:
        """Build an index by a plan while the present one serves, and let it serve.

        Raises:
            BudgetExceeded: memory does not suffice for both; the present one goes on.
        """
        with self._one:
            self._rebuild(plan)

    def checkpoint(self) -> None:
        """Make everything durable without the log, and cut the log; save the index where it changed."""
        with self._one:
            self._checkpoint()
            if self._parts.served.serving.plan.kind != FLAT and self._parts.served.changes:
                self._save()

    def calibrate(self, work: Callable[[], T]) -> T:
        """Measure what recall costs while no other index takes the place of this one, and keep it."""
        with self._one:
            found = work()
            if self._parts.served.serving.plan.kind != FLAT:
                self._save()
            return found

    def move(self, url: str) -> None:
        """Move what the index has in a tier to another region while searches go on."""
        with self._one:
            region = self._open_region(url)
            served = self._parts.served
            served.exclusively(lambda index: index.move(region))
            plan = served.serving.plan
            moved = Plan(plan.kind, plan.options, url, plan.reason)
            served.serving = Serving(served.serving.index, moved, served.serving.built_with)
            served.changes += 1

    def _rest_over(self) -> None:
        index = self._parts.served.serving.index
        self._parts.slots.rest_over(index.busy())

    def _wanted_plan(self) -> Plan | None:
        serving, count = self._parts.served.serving, self._parts.served.count
        left = self._memory.left
        plan = self._policy.choose(Situation(self._parts.space, count, left, serving.plan, serving.built_with))
        if plan.same_as(serving.plan):
            return None
        # What failed once is tried again when there is a tenth more or less to index.
        if self._failed is not None and self._failed[0].same_as(plan):
            return plan if abs(count - self._failed[1]) > self._failed[1] // 10 else None
        return plan

    def _rebuild(self, plan: Plan) -> None:
        try:
            with self._parts.slots.reading():
                self._parts.served.rebuild(plan, lambda slots: self._built(plan, slots))
            self._failed = self.problem = None
            if plan.kind != FLAT:
                self._save()
        except (TieredRetrievalError, MemoryError, ImportError) as error:
            self._failed = (plan, self._parts.served.count)
            self.problem = f"an index of kind {plan.kind} was not built: {error}"
            _logger.warning("%s", self.problem)
            raise
        finally:
            self.progress = Progress()

    def _built(self, plan: Plan, slots: np.ndarray) -> Index:
        if plan.kind == FLAT:
            index = ScanIndex(self._parts.file)
            index.add(slots)
            return index
        limits = Limits(self._memory.left, self._settings.threads, self._settings.seed)
        region = self._open_region(plan.region) if plan.region else None
        return index_kind(plan.kind).build(
            self._parts.space,
            slots,
            self._parts.file.rows,
            limits=limits,
            region=region,
            told=self._told(f"building an index of kind {plan.kind}", len(slots)),
            **plan.options,
        )

    def _told(self, doing: str, total: int) -> Told:
        def told(share: float) -> None:
            self.progress = Progress(min(total - 1, int(share * total)), total, doing)

        return told

    def _checkpoint(self) -> None:
        """Vectors first, then the note in the database, whose commit writes it through; then the log may go."""

        def begun() -> int:
            self._log.rotate()
            return self._parts.catalog.state("applied")

        applied = self._writer.call(begun)
        self._parts.file.sync()

        def ended() -> None:
            self._parts.catalog.made_durable(applied)
            self._log.drop(applied)
            self._parts.catalog.forget_graves(int((time.time() - GRAVES_S) * 1000))

        self._writer.call(ended)

    def _save(self) -> None:
        served = self._parts.served

        def save(index: Index) -> None:
            # Nothing changes the index now; an entry that was committed and is not shown yet comes again on loading.
            entry, live = self._shown(), served.live_slots()
            there = np.setdiff1d(live, served.beside.slots)
            save_index(self._folder / INDEX, served.serving, entry, there, measured=served.measured)
            served.changes, served.measured = 0, False

        served.exclusively(save)

    def _shown(self) -> int:
        return self._parts.served.entry


class Background:
    """A thread that maintains collections until it is stopped.

    Args:
        every_s: between rounds.
        steps: what a round does, asked anew each time.
    """

    def __init__(self, every_s: float, steps: Callable[[], list[Callable[[], Progress]]]) -> None:
        self._every_s, self._steps = every_s, steps
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retrieval-maintenance", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the step that is under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            for step in self._steps():
                self._tried(step)

    def _tried(self, step: Callable[[], Progress]) -> None:
        try:
            for _ in range(_STEPS):
                if self._stop.is_set() or step().finished:
                    break
                # Whoever waits for the index has its turn.
                self._stop.wait(_PAUSE_S)
        except (BudgetExceeded, StoreClosed):
            pass
        except Exception as error:
            _logger.warning("maintenance failed: %s", error)
