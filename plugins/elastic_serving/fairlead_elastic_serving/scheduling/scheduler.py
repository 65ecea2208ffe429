"""Continuous batching with chunked prefill over one arena, and preemption by swapping or computing again.

Each step serves the requests that run, in the order of their arrival: those that generate compute one token, prompts
are cut to what is left of the step's tokens (Sarathi-Serve: Agrawal et al. 2024). Where pages are missing the
youngest gives its own
up: to host memory if moving them there and back takes less time than computing them again, by the fitted cost. The
oldest always proceeds, so everyone does in the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..arena.allocation import I32, Ring
from ..arena.page_arena import Moves
from ..arena.page_tables import HIGH, PageTables
from ..errors import ElasticServingError, OutOfPages
from ..planning.cost_model import Chunk, CostModel
from ..planning.handling import recompute_way, swap_way
from ..planning.overload import Demand
from .requests import Request, Running, Scheduled, Step, SwapIn, SwapOut


@dataclass(frozen=True, slots=True)
class Settings:
    """What bounds a step.

    Attributes:
        step_tokens: that one step computes, at most.
        sequences: that run at the same time, at most.
        rows: of the page tables that a sequence has: layers times KV heads.
        host_pages: for requests that are swapped out; 0: all are computed again.
        host_bytes_per_s: between the device and host memory.
        page_bytes: of a page.
        cost: of prefill; without it whatever fits into host memory is swapped.
    """

    step_tokens: int
    sequences: int
    rows: int
    host_pages: int = 0
    host_bytes_per_s: float = 1e10
    page_bytes: int = 8192
    cost: CostModel | None = None

    def __post_init__(self) -> None:
        if min(self.step_tokens, self.sequences, self.rows) < 1 or self.host_pages < 0:
            raise ValueError(f"{self}: accepted: step_tokens, sequences and rows 1 and above, host_pages 0 and above")


class Scheduler:
    """All requests of one instance. All tokens are stored in the high tier: what is not compressed has no other."""

    def __init__(self, tables: PageTables, settings: Settings) -> None:
        self.tables = tables
        self.settings = settings
        self._running: list[Running] = []
        self._waiting: list[Running] = []
        self._host = Ring(settings.host_pages, np.arange(settings.host_pages))
        self._arrivals = 0
        self._planned: dict[str, Scheduled] = {}
        self._unanswered = False
        # Rows of aborted requests that the step that is out may still write.
        self._aborted: list[I32] = []

    @property
    def running(self) -> tuple[str, ...]:
        """Requests that hold pages, the oldest first."""
        return tuple(item.request.name for item in self._running)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Requests that hold none, in the order in which they come next."""
        return tuple(item.request.name for item in self._waiting)

    def add(self, request: Request) -> None:
        """Take a request.

        Raises:
            ElasticServingError: its name is taken, or it could not even run alone.
        """
        if any(item.request.name == request.name for item in self._everyone()):
            raise ElasticServingError(f"request {request.name!r} is there already")
        # The last token that is generated has no keys and values.
        longest = request.prompt + request.most_tokens - 1
        pages = self._pages(longest)
        own, width = self.tables.arena.own_capacity, self.tables.tables.shape[1]
        if pages > own or pages > width * self.settings.rows:
            raise ElasticServingError(
                f"request {request.name!r}: {longest} tokens take {pages} pages; accepted: "
                f"{min(own, width * self.settings.rows)}"
            )
        self._waiting.append(Running(request, self._arrivals, request.prompt))
        self._arrivals += 1

    def demand(self) -> Demand:
        """Return the pages that are held and asked for, as `planning.overload` takes them."""
        arena = self.tables.arena
        queued = [self._pages(item.known) for item in self._waiting]
        return Demand(arena.used, arena.capacity, arena.own_capacity, queued)

    def step(self) -> Step:
        """Plan the next step and reserve its pages. Every plan must be answered by `computed` before the next one.

        Raises:
            ElasticServingError: the last plan was not answered.
        """
        if self._unanswered:
            raise ElasticServingError("the last step was not answered: call computed() first")
        out: list[SwapOut] = []
        recomputed: list[str] = []
        left = self.settings.step_tokens
        for item in list(self._running):
            if item not in self._running:
                continue
            tokens = min(item.missing, left)
            if tokens and self._reserve(item, tokens, out, recomputed):
                self._plan(item, tokens)
                left -= tokens
        came: list[SwapIn] = []
        # Whoever came in now would soon take the pages that somebody has just given up.
        while not out and not recomputed and left and self._waiting:
            item = self._waiting[0]
            tokens = min(item.missing, left)
            if len(self._running) == self.settings.sequences or not self._admit(item, came):
                break
            self._waiting.pop(0)
            self._plan(item, tokens)
            left -= tokens
        self._unanswered = bool(self._planned or out)
        return Step(tuple(self._planned.values()), tuple(out), tuple(came), tuple(recomputed))

    def computed(self, ended: Iterable[str] = ()) -> tuple[str, ...]:
        """Take note that the planned step was computed and a token drawn wherever it samples.

        Args:
            ended: requests whose new token is their last, whatever they asked for.

        Returns:
            the requests that are done now; they hold nothing any more.
        """
        stopped = set(ended)
        done: list[str] = []
        for item in list(self._running):
            planned = self._planned.pop(item.request.name, None)
            if planned is None:
                continue
            item.stored += planned.chunk.tokens
            if planned.samples:
                item.known += 1
                if item.generated == item.request.most_tokens or item.request.name in stopped:
                    self._leave(item)
                    done.append(item.request.name)
        self._planned.clear()
        self._unanswered = False
        for rows in self._aborted:
            self.tables.close(rows)
        self._aborted.clear()
        return tuple(done)

    def abort(self, name: str) -> None:
        """Forget a request, wherever it is; raises ElasticServingError for one that is not there.

        The pages of one that the step that is out computes are free when that step is answered, as it may write them
        until then.
        """
        item = next((item for item in self._everyone() if item.request.name == name), None)
        if item is None:
            raise ElasticServingError(f"request {name!r} is not there")
        if self._planned.pop(name, None) is not None:
            self._running.remove(item)
            self._aborted.append(item.rows)
        elif item in self._running:
            self._leave(item)
        else:
            self._waiting.remove(item)
            self._free_slots(item)

    def moved(self, moves: Moves) -> None:
        """Follow pages that the arena moved to restore a layer; between steps."""
        self.tables.apply(moves)

    def check(self) -> None:
        """Raise IntegrityError or ElasticServingError unless pages, rows and host memory are held as they must be."""
        self.tables.check()
        slots = sum(len(item.slots) for item in self._waiting if item.slots is not None)
        if slots + self._host.count != self.settings.host_pages:
            raise ElasticServingError(f"{slots} host pages are held, {self._host.count} free")

    def _everyone(self) -> list[Running]:
        return [*self._running, *self._waiting]

    def _pages(self, tokens: int) -> int:
        return self.settings.rows * int(self.tables.pages_for(np.array([tokens, 0]))[HIGH])

    def _counts(self, tokens: int) -> I32:
        counts = np.zeros((self.settings.rows, 2), np.int32)
        counts[:, HIGH] = tokens
        return counts

    def _plan(self, item: Running, tokens: int) -> None:
        chunk = Chunk(item.stored, tokens)
        self._planned[item.request.name] = Scheduled(item.request.name, chunk, item.rows, tokens == item.missing)

    def _reserve(self, item: Running, tokens: int, out: list[SwapOut], recomputed: list[str]) -> bool:
        """Make room for more tokens of a running request; the youngest go for it, maybe itself."""
        # A prompt that is cut has the room for all of it since it came in.
        room = max(item.stored + tokens, int(self.tables.counts[item.rows[0], HIGH]))
        while True:
            try:
                self.tables.resize(item.rows, self._counts(room))
            except OutOfPages:
                victim = max(self._running, key=lambda other: other.arrival)
                self._preempt(victim, out, recomputed)
                if victim is item:
                    return False
            else:
                return True

    def _admit(self, item: Running, came: list[SwapIn]) -> bool:
        """Start or resume a waiting request if all of its tokens find room at once."""
        arena, needed = self.tables.arena, self._pages(item.known)
        if needed > arena.free or self.tables.free_rows < self.settings.rows:
            return False
        item.rows = self.tables.open(self.settings.rows)
        if item.slots is not None:
            self.tables.resize(item.rows, self._counts(item.stored))
            came.append(SwapIn(item.request.name, item.slots, self._held(item)))
            self._free_slots(item)
        self.tables.resize(item.rows, self._counts(item.known))
        self._running.append(item)
        self._running.sort(key=lambda other: other.arrival)
        return True

    def _preempt(self, item: Running, out: list[SwapOut], recomputed: list[str]) -> None:
        self._planned.pop(item.request.name, None)
        # What the step reserved for it beyond what is stored holds nothing yet.
        self.tables.resize(item.rows, self._counts(item.stored))
        pages = self._held(item)
        if self._swaps(item, len(pages)):
            item.slots = self._host.take(len(pages))
            out.append(SwapOut(item.request.name, pages, item.slots))
        else:
            item.stored = 0
            recomputed.append(item.request.name)
        item.preemptions += 1
        self._leave(item)
        self._waiting.append(item)
        self._waiting.sort(key=lambda other: other.arrival)

    def _swaps(self, item: Running, pages: int) -> bool:
        if not item.stored or pages > self._host.count:
            return False
        if self.settings.cost is None:
            return True
        again = recompute_way(0.0, [item.stored], self.settings.cost)
        moved = swap_way(self.settings.page_bytes, [pages], self.settings.host_bytes_per_s)
        return moved.seconds < again.seconds

    def _held(self, item: Running) -> I32:
        """The pages of a request, row by row."""
        count = int(self.tables.pages_for(np.array([item.stored, 0]))[HIGH])
        return self.tables.tables[item.rows, :count].reshape(-1).copy()

    def _leave(self, item: Running) -> None:
        self._running.remove(item)
        self.tables.close(item.rows)
        item.rows = np.zeros(0, np.int32)

    def _free_slots(self, item: Running) -> None:
        if item.slots is not None:
            self._host.give(item.slots)
            item.slots = None
