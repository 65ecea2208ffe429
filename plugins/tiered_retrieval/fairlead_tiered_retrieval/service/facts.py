"""A thread that looks at a store every second: tells the resource graph how it stands, and checks its recall."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from ..errors import TieredRetrievalError
from ..store.collection import Collection
from ..store.recall import RecallReport
from ..store.seen import ENOUGH
from .local import Local
from .placement import tier_of

INTERVAL_S = 1.0
#: What has not changed is told again after so long: an agent that came back has not heard it.
REPEAT_S = 20.0
RATE_WINDOW_S = 10.0
REPORT_QUERIES = 50


class Publisher(Protocol):
    """The part of a worker's context that takes facts."""

    @property
    def instance(self) -> str:
        """The instance's vertex."""
        ...

    def publish_fact(self, vertex: str, attribute: str, value: float, uncertainty: float = 0.0) -> None:
        """Take a fact."""
        ...


class Facts:
    """Tells what has changed.

    Args:
        local: has the store.
        publisher: takes facts.
        report_s: between two checks of recall; 0: none.
        settle: called every second: moves collections to where they belong.
        warn: hears of what fails.
        clock: in seconds.
    """

    def __init__(
        self,
        local: Local,
        publisher: Publisher,
        report_s: float,
        settle: Callable[[], object] = lambda: None,
        warn: Callable[..., object] = lambda event, **values: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._local, self._publisher, self._report_s, self._clock = local, publisher, report_s, clock
        self._settle, self._warn = settle, warn
        self._told: dict[str, tuple[float, float]] = {}
        self._queries: list[tuple[float, int]] = []
        self._reported_s = clock()
        #: Queries that had come when a collection's index was last measured by them.
        self._measured: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="facts", daemon=True)

    def start(self) -> None:
        """Tell from now on."""
        self._thread.start()

    def close(self) -> None:
        """Tell no more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> dict[str, float]:
        """Return how the store stands."""
        store, statuses = self._local.store, list[tuple[int, int, str]]()
        for name in store.names():
            status = store.collection(name).status()
            statuses.append((status.count, status.sizes.tier_bytes, tier_of(status.plan)))
        found = {
            "documents": float(sum(count for count, _, _ in statuses)),
            "index_bytes": float(store.memory.used),
            "lower_tier_bytes": float(sum(size for _, size, tier in statuses if tier != "dram")),
            "tier_moves": float(self._local.placement.moves),
            "queries_per_s": self._rate(self._clock()),
        }
        recalls = [report.recall for report in self._local.recalls.values()]
        return {**found, "recall": min(recalls)} if recalls else found

    def tell(self) -> None:
        """Publish what has changed since it was told, or was told long ago."""
        now_s = self._clock()
        for name, value in self._changed(self.look(), now_s).items():
            self._told[name] = (value, now_s)
            self._publisher.publish_fact(self._publisher.instance, name, value)

    def report(self) -> None:
        """Check recall, of one collection at a time, where it is time for it."""
        if not self._report_s or self._clock() - self._reported_s < self._report_s:
            return
        self._reported_s = self._clock()
        for name in self._local.store.names():
            collection = self._local.store.collection(name)
            if collection.count() > REPORT_QUERIES:
                self._local.recalls[name] = self._checked(name, collection)

    def _checked(self, name: str, collection: Collection) -> RecallReport:
        """Recall on queries where enough came; where it is short, the index is measured by them."""
        recall, (seen, came) = self._local.settings.recall, collection.seen
        if seen < ENOUGH:
            return collection.recall_report(queries=REPORT_QUERIES, recall=recall)
        report = collection.recall_report(queries=REPORT_QUERIES, recall=recall, sample="queries")
        # Of the same queries another measurement would not come out otherwise.
        if not report.short or came < 2 * self._measured.get(name, 0):
            return report
        self._measured[name] = came
        before, after = collection.calibrate(recall=recall)
        self._warn("measured by queries", collection=name, asked=recall, before=before.recall, after=after.recall)
        return after

    def _changed(self, values: Mapping[str, float], now_s: float) -> dict[str, float]:
        old = {name: value for name, (value, at_s) in self._told.items() if now_s - at_s < REPEAT_S}
        return {name: value for name, value in values.items() if old.get(name) != value}

    def _rate(self, now_s: float) -> float:
        self._queries.append((now_s, self._local.total.counts["queries"]))
        while len(self._queries) > 2 and self._queries[1][0] <= now_s - RATE_WINDOW_S:
            self._queries.pop(0)
        (begin_s, before), (_, after) = self._queries[0], self._queries[-1]
        return (after - before) / (now_s - begin_s) if now_s > begin_s else 0.0

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            for work in (self._settle, self.report, self.tell):
                try:
                    work()
                except (TieredRetrievalError, OSError) as error:
                    self._warn("a look at the store failed", reason=str(error))
