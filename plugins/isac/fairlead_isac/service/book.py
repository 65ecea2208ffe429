"""Sensing requests and what becomes of them; thread-safe. Time is an argument."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import IsacError, NotFound
from ..requests.admission import Admission, Looks
from ..requests.request import Area, Requirements, SensingRequest
from .estimate import Estimate

State = Literal["refused", "admitted", "degraded", "cancelled", "expired"]
#: Estimates that are kept for who asks late, and requests that have ended.
KEPT_ESTIMATES, KEPT_REQUESTS = 64, 256
#: Estimates that a slow reader may be behind; then the oldest are left out.
BEHIND = 128
LIVE: tuple[State, ...] = ("admitted", "degraded")


@dataclass(slots=True, eq=False)
class Entry:
    """One request."""

    id: str
    request: SensingRequest
    requirements: Requirements
    area: Area
    admission: Admission
    state: State
    asked_at: float
    ends_at: float | None
    reason: str = ""
    due_at: float = 0.0
    estimates: deque[Estimate] = field(default_factory=lambda: deque(maxlen=KEPT_ESTIMATES))
    count: int = 0
    late: int = 0
    readers: list[queue.SimpleQueue[Estimate | None]] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether estimates are still to come."""
        return self.state in LIVE

    @property
    def looks(self) -> Looks:
        """How it is served."""
        assert self.admission.looks is not None
        return self.admission.looks

    def body(self) -> dict[str, Any]:
        """As JSON."""
        looks = self.admission.looks
        return {
            "id": self.id,
            "state": self.state,
            "reason": self.reason,
            "class": self.request.sensing_class,
            "chosen": self.request.chosen,
            "request": self.request.model_dump(mode="json", by_alias=True, exclude_none=True),
            "met": self.admission.met,
            "requirements": [
                {
                    "requirement": each.requirement,
                    "asked": each.asked,
                    "offered": each.offered,
                    "met": each.met,
                    "reason": each.reason,
                }
                for each in self.admission.verdicts
            ],
            "reasons": list(self.admission.reasons()),
            "integrated_snr_db": self.admission.integrated_snr_db,
            "looks": None
            if looks is None
            else {
                "symbols": looks.symbols,
                "spacing_s": looks.spacing_s,
                "repeats": looks.repeats,
                "refresh_s": looks.refresh_s,
                "air_share": looks.air_share,
            },
            "estimates": self.count,
            "late": self.late,
        }


class Book:
    """All requests of an instance."""

    def __init__(self, cell: str | None = None, ended: Callable[[Entry], None] = lambda entry: None) -> None:
        """Make an empty one.

        Args:
            cell: whose it is, which ids say then; None: there is only one.
            ended: hears of each request that was served and has ended, or is about to, without waiting.
        """
        self.cell, self._ended = cell, ended
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._number = 0
        self.version = 0
        """Grows whenever requests are admitted or end."""

    def add(
        self, request: SensingRequest, requirements: Requirements, area: Area, admission: Admission, now: float
    ) -> Entry:
        """Take in a request with its admission."""
        with self._lock:
            self._number += 1
            ends_at = None if request.duration_s is None else now + request.duration_s
            state: State = "admitted" if admission.met else "refused"
            reason = "; ".join(admission.reasons())
            entry = Entry(
                self._named(), request, requirements, area, admission, state, now, ends_at, reason, due_at=now
            )
            self._entries[entry.id] = entry
            self._forget()
            self.version += 1
            return entry

    def _named(self) -> str:
        return f"r{self._number}" if self.cell is None else f"r{self._number}@{self.cell}"

    def get(self, name: str) -> Entry:
        """The request of an id.

        Raises:
            NotFound: there is none.
        """
        with self._lock:
            if name not in self._entries:
                known = ", ".join(self._entries) or "none yet"
                raise NotFound(f"sensing request {name!r} is not there; known: {known}")
            return self._entries[name]

    def all(self) -> list[Entry]:
        """All that are known, oldest first."""
        with self._lock:
            return list(self._entries.values())

    def live(self) -> list[Entry]:
        """Those that are served."""
        return [entry for entry in self.all() if entry.live]

    def cancel(self, name: str) -> Entry:
        """End one; one that has ended stays as it ended.

        Raises:
            NotFound: there is none.
        """
        entry = self.get(name)
        if entry.live:
            self._end(entry, "cancelled", "by who asked")
        return entry

    def expire(self, now: float) -> None:
        """End those whose time is over."""
        for entry in self.live():
            if entry.ends_at is not None and now >= entry.ends_at:
                self._end(entry, "expired", f"after {entry.request.duration_s:g} s")

    def close(self, reason: str) -> None:
        """End all."""
        for entry in self.live():
            self._end(entry, "cancelled", reason)

    def degrade(self, entry: Entry, reason: str) -> None:
        """It is not served as admitted for now; an empty reason: it is again."""
        with self._lock:
            if entry.live:
                entry.state, entry.reason = ("degraded", reason) if reason else ("admitted", "")

    def publish(self, entry: Entry, estimate: Estimate) -> None:
        """Give an estimate to who listens."""
        with self._lock:
            if not entry.live:
                return
            entry.estimates.append(estimate)
            entry.count += 1
            entry.late += estimate.late
            for reader in entry.readers:
                if reader.qsize() < BEHIND:
                    reader.put(estimate)

    def follow(self, name: str) -> Iterator[Estimate | None]:
        """The kept estimates, then those to come until the request ends; None every second of silence.

        Raises:
            NotFound: there is no such request.
            IsacError: it was refused.
        """
        entry = self.get(name)
        if entry.state == "refused":
            raise IsacError(f"sensing request {name} was refused: {entry.reason}")
        reader: queue.SimpleQueue[Estimate | None] = queue.SimpleQueue()
        with self._lock:
            for estimate in entry.estimates:
                reader.put(estimate)
            if entry.live:
                entry.readers.append(reader)
            else:
                reader.put(None)
        return self._read(entry, reader)

    def _read(self, entry: Entry, reader: queue.SimpleQueue[Estimate | None]) -> Iterator[Estimate | None]:
        try:
            while True:
                try:
                    found = reader.get(timeout=1.0)
                except queue.Empty:
                    yield None
                    continue
                if found is None:
                    return
                yield found
        finally:
            with self._lock:
                if reader in entry.readers:
                    entry.readers.remove(reader)

    def _end(self, entry: Entry, state: State, reason: str) -> None:
        with self._lock:
            entry.state, entry.reason = state, reason
            self.version += 1
            for reader in entry.readers:
                reader.put(None)
        self._ended(entry)

    def _forget(self) -> None:
        ended = [entry.id for entry in self._entries.values() if not entry.live]
        for name in ended[: max(0, len(ended) - KEPT_REQUESTS)]:
            del self._entries[name]
