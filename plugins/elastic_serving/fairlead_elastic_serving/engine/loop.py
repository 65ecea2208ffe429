"""The generation loop without its thread: plan, compute, draw, report, again and again."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from fairlead_language_model.serving import Event, Failure

from ..errors import MicrobatchLost
from ..model.batch import Batch
from ..planning.cost_model import Chunk, CostModel, fit
from ..planning.microbatches import evenly, lookahead
from ..scheduling import Request, Scheduled, Scheduler, Step
from .batching import make_batch
from .executor import Executor
from .sequence import ServedSequence
from .telemetry import Telemetry

NO_LOGITS = np.zeros(0, np.float32)
#: Steps after which their cost is fitted for the first time.
FIRST_LESSON = 64
#: Where nothing was measured yet, microbatches are cut by tokens.
BY_TOKENS = CostModel(0.0, 1.0, 0.0)


def ignore(event: str, **values: object) -> None:
    """Where nobody listens."""


class Loop:
    """Requests, their scheduler, and whoever computes. One thread calls.

    Attributes:
        scheduler: of the requests.
        executor: computes; may be exchanged while nothing is in flight.
        sequences: requests by name.
        telemetry: what was measured.
        by_tokens: whether microbatches are cut by tokens, whatever they cost: to measure what knowing the cost gains.

    Args:
        scheduler: of the requests.
        executor: computes.
        carry_out: makes a step's copies between the arena and host memory.
        telemetry: counts.
        copy_speed: bytes per second of those copies, as measured; None: not yet.
        objectives: time to the first token and mean time between tokens, in seconds, of good requests.
        warn: hears of requests that failed, with the exception as `exc_info`.
        clock: in seconds.
        processor: seconds that this thread has computed.
        check: whether everything is held as it must be is checked after every step: for tests.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        executor: Executor,
        carry_out: Callable[[Step], None],
        telemetry: Telemetry,
        *,
        copy_speed: Callable[[], float | None] = lambda: None,
        objectives: tuple[float, float] = (1.0, 0.1),
        warn: Callable[..., object] = ignore,
        clock: Callable[[], float] = time.monotonic,
        processor: Callable[[], float] = time.thread_time,
        check: bool = False,
    ) -> None:
        self.scheduler, self.executor, self.telemetry = scheduler, executor, telemetry
        self.by_tokens = False
        self.sequences: dict[str, ServedSequence] = {}
        self._tokens: dict[str, list[int]] = {}
        self._flying: deque[tuple[Batch, tuple[Scheduled, ...]]] = deque()
        self._carry_out, self._copy_speed, self._objectives = carry_out, copy_speed, objectives
        self._learn_at = FIRST_LESSON
        self._warn, self._clock, self._processor, self._check = warn, clock, processor, check

    @property
    def in_flight(self) -> int:
        """Microbatches that are computed."""
        return len(self._flying)

    def add(self, sequence: ServedSequence) -> None:
        """Take a request; one that could never run fails, the others are not touched."""
        prompt = len(sequence.request.prompt)
        try:
            self.scheduler.add(Request(sequence.name, prompt, sequence.limit - prompt, sequence.tokens))
        except Exception as error:
            self._report([(sequence, self._failure(sequence, error))])
            return
        self.sequences[sequence.name] = sequence
        self._tokens[sequence.name] = sequence.tokens

    def abort(self, sequence: ServedSequence) -> None:
        """Stop a request wherever it is; harmless when it has ended."""
        if not sequence.finished:
            self._finish(sequence, "abort")

    def cut_to(self, context: int) -> None:
        """End sequences at a shorter context, at once where they are as long already."""
        for sequence in list(self.sequences.values()):
            sequence.limit = min(sequence.limit, context)
            if len(sequence.tokens) >= context:
                self._finish(sequence, "length")

    def turn(self) -> bool:
        """Plan all that may be in flight and wait for a microbatch; false if nothing could be computed."""
        if self.telemetry.step_count >= self._learn_at:
            self._learn()
        while (room := self.executor.capacity - len(self._flying)) > 0:
            # Where others keep the stages busy, a few tokens rather wait for those in flight and go with them.
            if self._flying and self._few() and not self.scheduler.admits():
                break
            step = self.scheduler.step()
            self._carry_out(step)
            if not step.scheduled:
                break
            self._admitted(step.scheduled)
            for part in self._parts(step.scheduled, room):
                batch = make_batch(part, self._tokens)
                self.executor.submit(batch)
                self._flying.append((batch, part))
        if not self._flying:
            return False
        self._answer()
        if self._check:
            self.scheduler.check()
        return True

    def land(self) -> None:
        """Wait for everything that is in flight."""
        while self._flying:
            self._answer()

    def preempt(self) -> bool:
        """Let the youngest request that nobody computes give its pages up; false if there is none."""
        self.land()
        if not self.scheduler.running:
            return False
        self._carry_out(self.scheduler.preempt())
        return True

    def fail_all(self, error: Exception) -> None:
        """A fault of ours: tell whoever waits."""
        while self._flying:
            with contextlib.suppress(Exception):
                self.executor.next()
            self._flying.popleft()
        # Whatever broke may have left the scheduler's books in disorder; nobody goes on waiting for that.
        with contextlib.suppress(Exception):
            self.scheduler.undo()
        for sequence in list(self.sequences.values()):
            with contextlib.suppress(Exception):
                self.scheduler.abort(sequence.name)
            self._forget(sequence.name)
            self._report([(sequence, self._failure(sequence, error))])

    def _learn(self) -> None:
        """Fit what steps cost to those that were measured, twice as rarely each time."""
        self._learn_at *= 2
        settings = self.scheduler.settings
        # Whoever reads the measurements may take them away.
        steps = [step for step in self.telemetry.steps if step[1] > 0]
        self.scheduler.settings = replace(
            settings,
            cost=fit(steps) if steps else settings.cost,
            host_bytes_per_s=self._copy_speed() or settings.host_bytes_per_s,
        )

    def _parts(self, scheduled: tuple[Scheduled, ...], room: int) -> Iterator[tuple[Scheduled, ...]]:
        """Cut a step to microbatches of about the same cost; a chunk may be cut in two."""
        if room == 1:
            yield scheduled
            return
        chunks, cost = [item.chunk for item in scheduled], self._cost
        if cost is None:
            tokens = sum(chunk.tokens for chunk in chunks)
            parts = lookahead(chunks, BY_TOKENS, max(self.executor.least_tokens, tokens // room))
        else:
            parts = evenly(chunks, cost, min(room, self._number(chunks, cost)))
        queue = deque(scheduled)
        for part in parts:
            yield tuple(self._taken(queue, chunk) for chunk in part)

    def _number(self, chunks: Sequence[Chunk], cost: CostModel) -> int:
        """Return to how many microbatches a step is best cut."""
        running, _ = self.scheduler.decoding
        if self._flying and all(chunk.tokens == 1 for chunk in chunks):
            # Others of this round are on their way: what is ready is as large a part of it as it is.
            wanted = self._of_round(cost)
            return max(1, min(round(len(chunks) * wanted / running), wanted - len(self._flying)))
        return self.executor.parts(cost.least_s, max(0.0, cost.batch(chunks) - cost.least_s))

    def _of_round(self, cost: CostModel) -> int:
        """Return to how many microbatches the next tokens of all who run are best cut."""
        running, tokens = self.scheduler.decoding
        work_s = cost.alike(Chunk(tokens // running, 1), running) - cost.least_s
        return self.executor.parts(cost.least_s, max(0.0, work_s))

    @property
    def _cost(self) -> CostModel | None:
        """By which microbatches are cut."""
        return None if self.by_tokens else self.scheduler.settings.cost

    def _few(self) -> bool:
        """Whether what is ready rather waits: it is much less than a microbatch, were everybody's next token dealt to
        as many as is best, or less than one where as many are in flight.

        Whoever ends leaves a microbatch smaller than the others: that alone is no reason to let stages wait.
        """
        running, _ = self.scheduler.decoding
        cost = self._cost
        if cost is None or not running:
            return self.scheduler.ready() < self.executor.least_tokens
        wanted, ready = self._of_round(cost), self.scheduler.ready()
        return 2 * ready * wanted < running or (len(self._flying) >= wanted and ready < running // wanted)

    def _taken(self, queue: deque[Scheduled], chunk: Chunk) -> Scheduled:
        item = queue.popleft()
        if item.chunk.tokens == chunk.tokens:
            return item
        first, rest = self.scheduler.cut(item, chunk.tokens)
        queue.appendleft(rest)
        return first

    def _answer(self) -> None:
        started_s, processor_s = self._clock(), self._processor()
        try:
            batch, logits = self.executor.next()
        except MicrobatchLost as lost:
            self._lost(lost)
            return
        except Exception as error:
            _, part = self._flying.popleft()
            self.scheduler.undo(part)
            for item in part:
                if item.name in self.sequences:
                    self._fail(self.sequences[item.name], error)
            return
        part = self._back(batch)
        events, ended, failed = self._draw(part, logits)
        # What ended requests give back is no part of what a batch costs.
        spent_s, processor_s = self._clock() - started_s, self._processor() - processor_s
        self.scheduler.computed(part, ended)
        for sequence, error in failed:
            self._fail(sequence, error)
        for name in ended:
            self._forget(name)
        if self.executor.capacity == 1:
            self.telemetry.count_step([item.chunk for item in part], spent_s, processor_s)
        # Reported last, so that who has seen an answer also finds it counted.
        self._report(events)

    def _back(self, batch: Batch) -> tuple[Scheduled, ...]:
        """Take out what came back, which need not be the oldest."""
        place = next(place for place, (flying, _) in enumerate(self._flying) if flying is batch)
        _, part = self._flying[place]
        del self._flying[place]
        return part

    def _draw(
        self, part: Sequence[Scheduled], logits: torch.Tensor
    ) -> tuple[list[tuple[ServedSequence, Event]], list[str], list[tuple[ServedSequence, Exception]]]:
        """Draw the tokens that a microbatch gives; return what there is to report, who ended and who failed."""
        drawing = [self.sequences.get(item.name) for item in part if item.samples]
        draw = _Draw(logits)
        events: list[tuple[ServedSequence, Event]] = []
        ended: list[str] = []
        failed: list[tuple[ServedSequence, Exception]] = []
        for place, sequence in enumerate(drawing):
            if sequence is None:
                # Aborted while it was computed.
                continue
            try:
                events += [(sequence, event) for event in draw.advance(sequence, place)]
            except Exception as error:
                # One request's trouble (a bias outside the vocabulary) is not the others'.
                failed.append((sequence, error))
                continue
            sequence.times.token(self.telemetry, self._clock())
            if sequence.finished:
                ended.append(sequence.name)
                # The last event says why.
                self._ended(sequence, events[-1][1].reason)
        return events, ended, failed

    def _admitted(self, scheduled: Sequence[Scheduled]) -> None:
        for item in scheduled:
            sequence = self.sequences[item.name]
            if sequence.times.admitted_s is None:
                now_s = sequence.times.admitted_s = self._clock()
                sequence.cached_tokens = self.scheduler.cached(item.name)
                self.telemetry.queue_s.add(now_s - sequence.arrived_s)
                self.telemetry.prompt_tokens += len(sequence.request.prompt)
                self.telemetry.queried_tokens += len(sequence.request.prompt)
                self.telemetry.cached_tokens += sequence.cached_tokens

    def _lost(self, lost: MicrobatchLost) -> None:
        while self._flying:
            self.scheduler.undo(self._flying.popleft()[1])
        for name in lost.names & self.sequences.keys():
            self.scheduler.restart(name)

    def _finish(self, sequence: ServedSequence, reason: str) -> None:
        event = sequence.finish(reason)
        self._ended(sequence, reason)
        self.scheduler.abort(sequence.name)
        self._forget(sequence.name)
        self._report([(sequence, event)])

    def _ended(self, sequence: ServedSequence, reason: str) -> None:
        sequence.times.end(self.telemetry, reason, *self._objectives)

    def _fail(self, sequence: ServedSequence, error: Exception) -> None:
        event = self._failure(sequence, error)
        self.scheduler.abort(sequence.name)
        self._forget(sequence.name)
        self._report([(sequence, event)])

    def _failure(self, sequence: ServedSequence, error: Exception) -> Failure:
        sequence.finished = True
        self.telemetry.failed += 1
        reason = f"{type(error).__name__}: {error}"
        self._warn("request failed", reason=reason, exc_info=error)
        return Failure(reason)

    def _forget(self, name: str) -> None:
        self.sequences.pop(name, None)
        self._tokens.pop(name, None)

    def _report(self, events: Sequence[tuple[ServedSequence, Event]]) -> None:
        for sequence, event in events:
            sequence.sink(event)


class _Draw:
    """Draws from logits [samples, vocabulary]; what only needs the best tokens moves no logits to the host."""

    def __init__(self, logits: torch.Tensor) -> None:
        self._logits = logits
        self._rows: np.ndarray | None = None
        self._best: list[int] | None = None

    def advance(self, sequence: ServedSequence, place: int) -> list[Event]:
        if not sequence.plain:
            return sequence.advance(self._row(place))
        if self._best is None:
            self._find_best()
        assert self._best is not None
        if not self._finite[place]:
            raise ValueError("logits hold NaN or infinity")
        return sequence.append(self._best[place], NO_LOGITS if sequence.request.logprobs is None else self._row(place))

    def _find_best(self) -> None:
        values, best = self._logits.max(dim=-1)
        self._finite: list[bool] = values.isfinite().tolist()
        self._best = best.tolist()

    def _row(self, place: int) -> np.ndarray:
        if self._rows is None:
            self._rows = self._logits.cpu().numpy()
        return self._rows[place]
