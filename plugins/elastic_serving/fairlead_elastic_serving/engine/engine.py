"""One thread that serves all requests of an instance."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from threading import Condition, Thread
from typing import Protocol, TypeVar

import torch

from fairlead_language_model.serving import EngineClosed, PromptTooLong, QueueFull, Request, Sink
from fairlead_language_model.serving.jobs import Jobs
from fairlead_language_model.tokenizer import Tokenizer

from ..scheduling import Scheduler, Settings
from .executor import LocalExecutor
from .loop import Loop, ignore
from .resizing import fit_pages
from .sequence import ServedSequence
from .served_model import ServedModel
from .swapping import HostPages
from .telemetry import Telemetry

Result = TypeVar("Result")
#: Where requests wait for room that others give back, who knows when.
PATIENCE_S = 0.02


class Companion(Protocol):
    """What an engine does beside its own requests: its part in a group of instances."""

    @property
    def pending(self) -> bool:
        """Whether there is something to do at once."""
        ...

    @property
    def poll_s(self) -> float:
        """Within how many seconds `turn` is called, whether anything happens or not."""
        ...

    def turn(self) -> bool:
        """Do what is due between two steps; return whether the next one may be planned."""
        ...

    def rested(self, began_s: float) -> None:
        """Take note that the engine has waited since then."""
        ...


class Engine:
    """Continuous batching over one arena: see `scheduling`.

    `submit` and `abort` may be called from any thread; sinks are called in the generation thread and must not block.

    Attributes:
        model: what is served.
        loop: requests and who computes; belongs to the generation thread (see `between_steps`).
        telemetry: what was measured.
    """

    def __init__(
        self,
        model: ServedModel,
        *,
        warn: Callable[..., object] = ignore,
        clock: Callable[[], float] = time.monotonic,
        check: bool = False,
    ) -> None:
        """Start the thread; `warn(event, **values)` hears of requests that failed, with the exception as `exc_info`.

        With `check` everything that is held is counted after every step, for tests.
        """
        self.model, self.telemetry = model, Telemetry()
        settings = model.settings
        scheduler = Scheduler(
            model.space, Settings(settings.step_tokens, settings.sequences, page_bytes=model.plan.page_bytes)
        )
        host = HostPages(model.loaded.memory, model.host, clock)
        self.loop = Loop(
            scheduler,
            LocalExecutor(model.stage),
            host.carry_out,
            self.telemetry,
            copy_speed=lambda: host.bytes_per_s,
            objectives=(settings.ttft_s, settings.tpot_s),
            warn=warn,
            clock=clock,
            check=check,
        )
        self.context = self._longest()
        self._clock, self._names = clock, count()
        self._changed = Condition()
        self._jobs = Jobs(self._changed)
        self._incoming: deque[ServedSequence] = deque()
        self._aborted: deque[ServedSequence] = deque()
        self._draining = False
        self._companion: Companion | None = None
        self._thread = Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self.model.tokenizer

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self.model.end_tokens

    @property
    def vocabulary(self) -> int:
        """How many token ids the model has."""
        return self.model.config.vocab_size

    @property
    def load(self) -> tuple[int, int]:
        """Active and waiting requests."""
        running, waiting = self.loop.scheduler.load
        return running, waiting + len(self._incoming)

    @property
    def accepting(self) -> bool:
        """Whether new requests are taken."""
        return not (self._draining or self._jobs.closed)

    @property
    def pages(self) -> tuple[int, int]:
        """Pages that requests hold, and pages for keys and values in all."""
        space = self.loop.scheduler.space
        return space.used, space.capacity

    def submit(self, request: Request, sink: Sink) -> ServedSequence:
        """Queue a request; its events go to the sink, the last one being Finish or Failure.

        Raises:
            PromptTooLong, QueueFull, EngineClosed: nothing was queued.
        """
        if len(request.prompt) >= self.context:
            raise PromptTooLong(len(request.prompt), self.context)
        sequence = ServedSequence(
            f"r{next(self._names)}", request, self.tokenizer, self.end_tokens, self.context, sink, self._clock()
        )
        with self._changed:
            if not self.accepting:
                raise EngineClosed
            if self.load[1] >= self.model.settings.waiting:
                raise QueueFull(self.load[1])
            self._incoming.append(sequence)
            self.telemetry.requests += 1
            self._changed.notify_all()
        return sequence

    def abort(self, sequence: ServedSequence) -> None:
        """Stop a request at the next step; harmless when it has ended."""
        with self._changed:
            sequence.aborted = True
            self._aborted.append(sequence)
            self._changed.notify_all()

    def accompany(self, make: Callable[[Loop, Callable[[], None]], Companion]) -> None:
        """Have a companion, made in the generation thread from the loop and from what wakes the engine."""

        def wake() -> None:
            with self._changed:
                self._changed.notify_all()

        def begin() -> None:
            self._companion = make(self.loop, wake)

        self._jobs.submit(begin).result()

    def between_steps(self, job: Callable[[], Result]) -> Future[Result]:
        """Have a job done in the generation thread while nothing is in flight; raises EngineClosed."""
        return self._jobs.submit(job)

    def resize(self, memory_bytes: int) -> None:
        """Fit keys and values into a memory budget; returns when it is done.

        What is kept for later requests is given up first, then the youngest requests wait until there is room again.
        A budget beyond what was reserved when the model was read is used as far as that goes.

        Raises:
            BudgetTooSmall: the old budget stays.
        """
        pages = self.model.plan.kv_pages(memory_bytes)
        self._jobs.submit(lambda: self._fit(pages)).result()

    def set_threads(self, number: int) -> None:
        """Let the kernels compute on so many threads from the next step on."""
        self._jobs.submit(lambda: _compute_on(number)).result()

    def memory_in_use(self) -> int:
        """Bytes of the budget that the engine holds; all of its pages count, whether filled or not."""
        return self.model.plan.bytes_for(self.model.loaded.arena.own_capacity)

    @property
    def least_bytes(self) -> int:
        """The smallest budget."""
        return self.model.plan.least_bytes

    def drain(self, timeout_s: float | None = None) -> bool:
        """Take no new request, and wait for those under way; false when time ran out."""
        with self._changed:
            self._draining = True
            return self._changed.wait_for(self._idle, timeout_s)

    def close(self) -> None:
        """Abort everything and end the thread."""
        with self._changed:
            self._draining = self._jobs.closed = True
            self._changed.notify_all()
        self._thread.join()

    def _longest(self) -> int:
        # The last token of a sequence is never stored.
        return min(self.model.context, self.loop.scheduler.space.most_tokens + 1)

    def _fit(self, pages: int) -> None:
        fit_pages(self.loop, self.model, pages)
        self.context = self._longest()
        self.loop.cut_to(self.context)

    def _idle(self) -> bool:
        return not (self.loop.sequences or self._incoming or self._aborted or self._jobs)

    def _called(self) -> bool:
        return self._companion is not None and self._companion.pending

    def _run(self) -> None:
        while True:
            with self._changed:
                poll_s = None if self._companion is None else self._companion.poll_s
                began_s = self._clock()
                self._changed.wait_for(lambda: self._jobs.closed or not self._idle() or self._called(), poll_s)
                self._rested(began_s)
                jobs, closing = self._jobs.take(), self._jobs.closed
            if closing:
                break
            if jobs:
                self._guarded(self.loop.land)
            for job in jobs:
                job()
            self._guarded(self._turn)
            with self._changed:
                if self._idle():
                    self._changed.notify_all()
        self._end(jobs)

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            # A fault of ours: whoever waits is told, and the next requests are served.
            self.loop.fail_all(error)

    def _turn(self) -> None:
        self._take_in()
        may_plan = self._companion is None or self._companion.turn()
        progress = self.loop.turn() if may_plan else False
        with self._changed:
            if not progress and self.loop.sequences and not self._called():
                began_s = self._clock()
                self._changed.wait(PATIENCE_S)
                self._rested(began_s)

    def _rested(self, began_s: float) -> None:
        if self._companion is not None:
            self._companion.rested(began_s)

    def _take_in(self) -> None:
        while self._incoming:
            # The budget may have shrunk since it came. It is counted as waiting until the scheduler has it.
            self._incoming[0].limit = min(self._incoming[0].limit, self.context)
            self.loop.add(self._incoming[0])
            self._incoming.popleft()
        while self._aborted:
            self.loop.abort(self._aborted.popleft())

    def _end(self, jobs: list[Callable[[], None]]) -> None:
        with contextlib.suppress(Exception):
            self.loop.land()
        for job in jobs:
            job()
        self._take_in()
        for sequence in list(self.loop.sequences.values()):
            self.loop.abort(sequence)
        with self._changed:
            self._changed.notify_all()


def _compute_on(threads: int) -> None:
    from fairlead_kernels import set_threads

    torch.set_num_threads(threads)
    set_threads(threads)
