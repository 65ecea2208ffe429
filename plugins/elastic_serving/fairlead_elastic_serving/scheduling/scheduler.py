"""Continuous batching with chunked prefill over some space for keys and values, and preemption.

Each step serves the requests that run, in the order of their arrival: those that generate compute one token, prompts
are cut to what is left of the step's tokens (Sarathi-Serve: Agrawal et al. 2024). Where pages are missing the
youngest gives its own up: to host memory if moving them there and back takes less time than computing them again, by
the fitted cost. The oldest always proceeds, so everyone does in the end.

Several steps may be out at a time, as a pipeline has several microbatches in flight. Who is in one of them gives
nothing up until it is answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..arena.page_arena import Moves
from ..errors import ElasticServingError
from ..planning.cost_model import Chunk, CostModel
from ..planning.handling import recompute_way, swap_way
from ..planning.overload import Demand
from .requests import Request, Running, Scheduled, Step, SwapIn, SwapOut

if TYPE_CHECKING:
    from ..engine.space import KVSpace

#: A step that computes so many times what it costs by itself is long enough.
ENOUGH = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """What bounds a step.

    Attributes:
        step_tokens: that one step computes, at most.
        sequences: that run at the same time, at most.
        host_bytes_per_s: between the device and host memory.
        page_bytes: of a page.
        cost: of prefill; without it whatever fits into host memory is swapped.
    """

    step_tokens: int
    sequences: int
    host_bytes_per_s: float = 1e10
    page_bytes: int = 8192
    cost: CostModel | None = None

    def __post_init__(self) -> None:
        if min(self.step_tokens, self.sequences) < 1:
            raise ValueError(f"{self}: accepted: step_tokens and sequences 1 and above")

    @property
    def enough_tokens(self) -> int:
        """Tokens of prompts with which a step takes nobody else in.

        What a step costs by itself is a small part of it then: the first of those who wait have their first tokens
        sooner, and the last hardly later. A prompt that was begun is not held up by it.
        """
        cost = self.cost
        if cost is None or not cost.token_s:
            return self.step_tokens
        return max(1, min(self.step_tokens, round(ENOUGH * cost.least_s / cost.token_s)))


class Scheduler:
    """All requests of one instance.

    Attributes:
        space: where their keys and values are; may be exchanged while nothing runs.
        settings: may be exchanged between steps.
        preemptions: how often a request had to give its pages up.
    """

    def __init__(self, space: KVSpace, settings: Settings) -> None:
        self.space = space
        self.settings = settings
        self.preemptions = 0
        self._running: list[Running] = []
        self._waiting: list[Running] = []
        # Aborted while a step computes them.
        self._leaving: list[Running] = []
        self._items: dict[str, Running] = {}
        self._arrivals = 0
        self._out: list[Scheduled] = []

    @property
    def running(self) -> tuple[str, ...]:
        """Requests that hold pages, the oldest first."""
        return tuple(item.request.name for item in self._running)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Requests that hold none, in the order in which they come next."""
        return tuple(item.request.name for item in self._waiting)

    @property
    def load(self) -> tuple[int, int]:
        """How many run, and how many wait."""
        return len(self._running), len(self._waiting)

    @property
    def decoding(self) -> tuple[int, int]:
        """How many run, and how many tokens of theirs are stored."""
        return len(self._running), sum(item.stored for item in self._running)

    def add(self, request: Request) -> None:
        """Take a request.

        Raises:
            ElasticServingError: its name is taken, or it could not even run alone.
        """
        if request.name in self._items:
            raise ElasticServingError(f"request {request.name!r} is there already")
        # The last token that is generated has no keys and values.
        longest = request.prompt + request.most_tokens - 1
        if longest > self.space.most_tokens:
            raise ElasticServingError(
                f"request {request.name!r}: {longest} tokens take {self.space.needed(longest)} pages; accepted: "
                f"{self.space.needed(self.space.most_tokens)}"
            )
        item = self._items[request.name] = Running(request, self._arrivals, request.prompt)
        self._waiting.append(item)
        self._arrivals += 1

    def cached(self, name: str) -> int:
        """Return how many tokens of a request were stored when it came in first."""
        return self._item(name).cached

    def stored(self, name: str) -> int:
        """Return how many tokens of a request are stored."""
        return self._item(name).stored

    def demand(self) -> Demand:
        """Return the pages that are held and asked for, as `planning.overload` takes them."""
        queued = [self.space.needed(item.known) for item in self._waiting]
        return Demand(self.space.used, self.space.capacity, self.space.lasting, queued)

    def ready(self) -> int:
        """Return the tokens that the next step could compute, were there room for all who wait."""
        tokens = sum(item.missing for item in self._running) + sum(item.known for item in self._waiting)
        return min(tokens, self.settings.step_tokens)

    def admits(self) -> bool:
        """Return whether the next of those who wait could start now."""
        if not self._waiting or len(self._running) >= self.settings.sequences:
            return False
        return self.space.needed(self._waiting[0].known) <= self.space.free

    def step(self) -> Step:
        """Plan what is computed next, of requests that no step computes which is out, and reserve its pages.

        What is planned is out until `computed` says that it was computed. Swaps are carried out at once.
        """
        plan: dict[str, Scheduled] = {}
        out: list[SwapOut] = []
        recomputed: list[str] = []
        left, more = self.settings.step_tokens, self.settings.enough_tokens
        for item in list(self._running):
            tokens = min(item.missing, left)
            if tokens > 0 and item in self._running and self._reserve(item, tokens, plan, out, recomputed):
                plan[item.request.name] = self._planned(item, tokens)
                left -= tokens
                more -= tokens if tokens > 1 else 0
        came: list[SwapIn] = []
        # Whoever came in now would soon take the pages that somebody has just given up.
        while not out and not recomputed and left and more > 0 and self._waiting:
            item = self._waiting[0]
            if len(self._running) >= self.settings.sequences or not self._admit(item, came):
                break
            tokens = min(item.missing, left)
            plan[item.request.name] = self._planned(item, tokens)
            left -= tokens
            more -= tokens
        scheduled = tuple(plan.values())
        self._fly(scheduled)
        return Step(scheduled, tuple(out), tuple(came), tuple(recomputed))

    def computed(self, scheduled: Sequence[Scheduled] | None = None, ended: Iterable[str] = ()) -> tuple[str, ...]:
        """Take note that chunks were computed, and a token drawn wherever they sample.

        Args:
            scheduled: chunks of steps, or parts of them in their order; None: all that is out.
            ended: requests whose new token is their last, whatever they asked for.

        Returns:
            the requests that are done now; they hold nothing any more.
        """
        stopped, done = set(ended), list[str]()
        for chunk in self._out if scheduled is None else scheduled:
            item = self._item(chunk.name)
            item.flying -= chunk.chunk.tokens
            if item in self._leaving:
                self._let_go(item)
                continue
            item.stored += chunk.chunk.tokens
            if chunk.samples:
                self._sampled(item)
                if item.generated >= item.request.most_tokens or chunk.name in stopped:
                    self._leave(item)
                    done.append(chunk.name)
        self._out = [] if scheduled is None else [chunk for chunk in self._out if chunk not in scheduled]
        return tuple(done)

    def undo(self, scheduled: Sequence[Scheduled] | None = None) -> None:
        """Take chunks back that are out, by default all: they were not computed, and are planned again."""
        undone = tuple(self._out) if scheduled is None else scheduled
        self._out = [chunk for chunk in self._out if chunk not in undone]
        for chunk in undone:
            item = self._item(chunk.name)
            item.flying -= chunk.chunk.tokens
            if item in self._leaving:
                self._let_go(item)

    def restart(self, name: str) -> None:
        """Compute a request again from its first token on, as its keys and values are lost; nothing of it is out."""
        item = self._item(name)
        if item in self._running:
            self._running.remove(item)
            self._wait(item)
        elif not item.suspended:
            return
        self.space.release(name, ())
        item.stored, item.suspended = 0, False
        item.preemptions += 1

    def cut(self, whole: Scheduled, tokens: int) -> tuple[Scheduled, Scheduled]:
        """Cut a chunk that is out in two, so that they are computed in different microbatches."""
        first = Chunk(whole.chunk.prefix, tokens)
        second = Chunk(whole.chunk.prefix + tokens, whole.chunk.tokens - tokens)
        parts = (
            Scheduled(whole.name, first, whole.rows, samples=False),
            Scheduled(whole.name, second, whole.rows, whole.samples),
        )
        at = self._out.index(whole)
        self._out[at : at + 1] = parts
        return parts

    def abort(self, name: str) -> None:
        """Forget a request, wherever it is; raises ElasticServingError for one that is not there.

        The pages of one that a step computes which is out are free when that step is answered, as it may write them
        until then.
        """
        item = self._item(name)
        if item in self._leaving:
            raise ElasticServingError(f"request {name!r} is aborted already")
        if item.flying:
            self._running.remove(item)
            self._leaving.append(item)
        elif item in self._running:
            self._leave(item)
        else:
            self._waiting.remove(item)
            del self._items[name]
            if item.suspended:
                self.space.release(name, ())

    def preempt(self, name: str | None = None) -> Step:
        """Let a running request, by default the youngest, give its pages up; raises ElasticServingError if none can.

        Returns:
            a step without chunks, with what has to be copied.
        """
        idle = [item for item in self._running if not item.flying and name in (None, item.request.name)]
        if not idle:
            raise ElasticServingError(f"request {name or 'of any name'}: none runs that no step computes")
        out: list[SwapOut] = []
        recomputed: list[str] = []
        self._preempt(max(idle, key=lambda item: item.arrival), {}, out, recomputed)
        return Step((), tuple(out), (), tuple(recomputed))

    def moved(self, moves: Moves) -> None:
        """Follow pages that the arena moved to restore a layer; between steps."""
        self.space.moved(moves)

    def check(self) -> None:
        """Raise IntegrityError or ElasticServingError unless pages, rows and host memory are held as they must be."""
        self.space.check()

    def _item(self, name: str) -> Running:
        if name not in self._items:
            raise ElasticServingError(f"request {name!r} is not there")
        return self._items[name]

    def _planned(self, item: Running, tokens: int) -> Scheduled:
        name, chunk = item.request.name, Chunk(item.stored + item.flying, tokens)
        return Scheduled(name, chunk, self.space.rows(name), tokens == item.missing)

    def _fly(self, scheduled: Sequence[Scheduled]) -> None:
        for chunk in scheduled:
            self._item(chunk.name).flying += chunk.chunk.tokens
        self._out += scheduled

    def _sampled(self, item: Running) -> None:
        if item.stored >= item.request.prompt and item.known == item.request.prompt:
            self.space.stored(item.request.name, item.tokens)
        item.known += 1

    def _reserve(
        self,
        item: Running,
        tokens: int,
        plan: dict[str, Scheduled],
        out: list[SwapOut],
        recomputed: list[str],
    ) -> bool:
        """Make room for more tokens of a running request; the youngest go for it, maybe itself."""
        # A prompt that is cut has the room for all of it since it came in.
        room = max(item.stored + item.flying + tokens, item.room)
        while not self.space.reserve(item.request.name, room):
            if self._relieve(item, room):
                continue
            younger = [other for other in self._running if other.arrival > item.arrival]
            idle = [other for other in younger if not other.flying]
            if (younger and not idle) or item.flying:
                # Somebody who is computed just now may give way later.
                return False
            victim = max(idle, key=lambda other: other.arrival, default=item)
            self._preempt(victim, plan, out, recomputed)
            if victim is item:
                return False
        return True

    def _relieve(self, item: Running, room: int) -> bool:
        missing = self.space.needed(room) - self.space.needed(item.stored) - self.space.free
        idle = [other.request.name for other in self._running if not other.flying]
        return self.space.relieve(max(1, missing), idle)

    def _admit(self, item: Running, came: list[SwapIn]) -> bool:
        """Start or resume a waiting request if all of its tokens find room at once."""
        name = item.request.name
        if item.suspended:
            swap = self.space.resume(name, item.known)
            if swap is None:
                return False
            came.append(swap)
            item.suspended = False
        else:
            stored = self.space.open(name, item.request.tokens[: item.known], item.known)
            if stored is None:
                return False
            item.stored = stored
            if not item.preemptions:
                item.cached = stored
        item.room = item.known
        self._waiting.remove(item)
        self._running.append(item)
        self._running.sort(key=lambda other: other.arrival)
        return True

    def _preempt(self, item: Running, plan: dict[str, Scheduled], out: list[SwapOut], recomputed: list[str]) -> None:
        name = item.request.name
        plan.pop(name, None)
        swap = self.space.suspend(name, item.stored) if self._swaps(item) else None
        if swap is not None:
            item.suspended = True
            out.append(swap)
        else:
            self.space.release(name, item.tokens)
            item.stored = 0
            recomputed.append(name)
        item.preemptions += 1
        self.preemptions += 1
        self._running.remove(item)
        self._wait(item)

    def _wait(self, item: Running) -> None:
        self._waiting.append(item)
        self._waiting.sort(key=lambda other: other.arrival)

    def _swaps(self, item: Running) -> bool:
        if self.settings.cost is None or not item.stored:
            return bool(item.stored)
        again = recompute_way(0.0, [item.stored], self.settings.cost)
        pages = self.space.needed(item.stored)
        moved = swap_way(self.settings.page_bytes, [pages], self.settings.host_bytes_per_s)
        return moved.seconds < again.seconds

    def _leave(self, item: Running) -> None:
        self._running.remove(item)
        del self._items[item.request.name]
        self.space.release(item.request.name, item.tokens)

    def _let_go(self, item: Running) -> None:
        """Release an aborted request when nothing of it is out any more."""
        if not item.flying:
            self._leaving.remove(item)
            del self._items[item.request.name]
            self.space.release(item.request.name, ())
