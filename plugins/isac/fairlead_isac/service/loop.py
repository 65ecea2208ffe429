"""The threads: slot decisions on their period, sensing when it is due, and a radio that may go and come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import IsacError, RadioUnavailable
from .book import Book, Entry
from .counters import Counters
from .engine import Engine
from .estimate import Estimate
from .front import Front
from .sensing import look_elements, sense

#: Between two tries to get a lost radio back: from, to.
RETRY_S = (0.5, 5.0)
#: Longest sleep: an end is noticed within it.
TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class RadioState:
    """Whether the radio is there."""

    state: Literal["opening", "there", "lost"]
    reason: str = ""
    since_unix_s: float = 0.0


class Loop:
    """Runs an engine over a radio.

    Args:
        engine: decides.
        front: the radio.
        book: requests.
        counters: of what happens.
        rng: draws what looks carry.
        settled: called after each slot decision, and where the radio goes or comes back.
        warn: hears of what fails.
        clock: monotonic seconds.
        unix: Unix seconds.
        refine: what becomes of an estimate before it is told.
    """

    def __init__(
        self,
        engine: Engine,
        front: Front,
        book: Book,
        counters: Counters,
        rng: np.random.Generator,
        settled: Callable[[], None] = lambda: None,
        warn: Callable[..., object] = lambda event, **values: None,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
        refine: Callable[[Entry, Estimate], Estimate] = lambda entry, estimate: estimate,
    ) -> None:
        self.engine, self.front, self.book, self.counters = engine, front, book, counters
        self._rng, self._settled, self._warn, self._clock, self._unix = rng, settled, warn, clock, unix
        self._refine = refine
        self.radio = RadioState("opening", "", unix())
        self._ended = threading.Event()
        self._retry_s = RETRY_S[0]
        self._threads = [
            threading.Thread(target=self._run_slots, name="slots", daemon=True),
            threading.Thread(target=self._run_sensing, name="sensing", daemon=True),
        ]

    def start(self) -> None:
        """Decide and sense from now on."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End both threads and give the radio back."""
        self._ended.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(10)
        self.front.close()

    @property
    def there(self) -> bool:
        """Whether the radio is there."""
        return self.radio.state == "there"

    # --- slots -------------------------------------------------------------------------------------------------

    def slot(self) -> float:
        """One slot decision; returns how long it took."""
        began = self._clock()
        self.book.expire(began)
        decision = self.engine.decide(self._unix())
        took = self._clock() - began
        self.counters.took("decision", took)
        if decision.fallback is not None:
            self.counters.add("fallbacks")
        if took > self.engine.settings.slot_s:
            self.counters.add("decision_deadline_misses")
        self._settled()
        return took

    def _run_slots(self) -> None:
        period = self.engine.settings.slot_s
        due = self._clock()
        while not self._ended.is_set():
            try:
                self.slot()
            except Exception as error:  # a slot that fails must not end the cell: the last decision holds
                self.counters.add("failed_slots")
                self._warn("a slot decision failed", reason=f"{type(error).__name__}: {error}")
            due += period
            now = self._clock()
            if now > due + period:
                self.counters.add("skipped_slots", int((now - due) / period))
                due = now
            self._ended.wait(max(0.0, due - now))

    # --- sensing -----------------------------------------------------------------------------------------------

    def sense_due(self) -> float:
        """Serve the request that is due first, where one is; returns seconds until the next one is due."""
        served = [entry for entry in self.book.live() if entry.id not in self.engine.shed]
        live = sorted(served, key=lambda entry: entry.due_at + entry.looks.refresh_s)
        due = [entry for entry in live if entry.due_at <= self._clock()]
        if due:
            self._serve(due[0])
        waiting = [entry.due_at - self._clock() for entry in served]
        return max(0.0, min([TICK_S, *waiting]))

    def _serve(self, entry: Entry) -> None:
        began, refresh = self._clock(), entry.looks.refresh_s
        measured = self._unix()
        detections = sense(self.front, entry, self.engine.cell, self._rng)
        ended = self._clock()
        self.counters.took("estimate", ended - began)
        self.counters.took("element", (ended - began) / look_elements(self.engine.cell, entry.looks))
        late = ended > entry.due_at + 2 * refresh
        if late:
            self.counters.add("estimate_deadline_misses")
        number = entry.count + 1
        estimate = Estimate(entry.id, number, measured, ended - began, late, detections)
        self.book.publish(entry, self._refine(entry, estimate))
        # Where it is behind, what was missed is not made up for.
        entry.due_at = max(entry.due_at + refresh, ended - refresh)

    def _run_sensing(self) -> None:
        while not self._ended.is_set():
            try:
                wait = self.sense_due() if self.there else self.open()
            except RadioUnavailable as error:
                wait = self.lose(str(error))
            except Exception as error:  # one interval's trouble is its own
                self.counters.add("failed_estimates")
                self._warn("an estimate failed", reason=f"{type(error).__name__}: {error}")
                wait = TICK_S
            self._ended.wait(wait)

    # --- the radio ---------------------------------------------------------------------------------------------

    def open(self) -> float:
        """Take the radio; returns seconds until the next try, where it is not there."""
        try:
            self.front.open()
        except (RadioUnavailable, IsacError) as error:
            return self.lose(str(error))
        if self.radio.state == "lost":
            self._warn("the radio is back", after_s=round(self._unix() - self.radio.since_unix_s, 1))
        self.radio, self._retry_s = RadioState("there", "", self._unix()), RETRY_S[0]
        for entry in self.book.live():
            entry.due_at = self._clock()
            self.book.degrade(entry, "")
        self._settled()
        return 0.0

    def lose(self, reason: str) -> float:
        """The radio is gone: say so, to who waits for estimates, too; returns seconds until the next try."""
        if self.radio.state != "lost":
            self.counters.add("radio_losses")
            self._warn("the radio is lost", reason=reason)
            self.radio = RadioState("lost", reason, self._unix())
            self._settled()
        else:
            self.radio = RadioState("lost", reason, self.radio.since_unix_s)
        for entry in self.book.live():
            self.book.degrade(entry, f"the radio is lost: {reason}")
            problem = Estimate(entry.id, entry.count + 1, self._unix(), 0.0, True, (), reason)
            self.book.publish(entry, problem)
        wait, self._retry_s = self._retry_s, min(2 * self._retry_s, RETRY_S[1])
        return wait
