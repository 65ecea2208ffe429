"""A driver's microbatches through the stages of its group: several in flight, answered as they come back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import MicrobatchLost
from ..links.link import Lane, LinkLost
from ..model.batch import Batch
from ..model.stage import Stage as ModelStage
from ..planning.microbatches import best_parts
from .attention import Older
from .microbatch import Microbatch
from .post import Post
from .space import GroupSpace
from .stage_cost import Turns

DEALT = 2
"""Microbatches to which running requests are dealt before anything is known of what they cost."""


@dataclass(slots=True, eq=False)
class _Flying:
    number: int
    batch: Batch
    since_s: float
    hidden: torch.Tensor | None = None
    reason: str | None = None


class PipelineExecutor:
    """See `engine.executor.Executor`.

    Attributes:
        submitted: number of microbatches that were sent.
        answered: up to which number all came back.

    Args:
        stage: embedding and output are computed here.
        space: says where which tokens are.
        post: sends.
        take: queues a microbatch whose first segment is here.
        work: does something of what this instance has to do, for itself and others, or waits a little.
        epoch: of the plan in force.
        microbatches: that may be in flight.
        least_tokens: of a microbatch, where other drivers are at work too and nobody knows what it costs.
        drivers: that are at work, this one included.
        latency_s: from one stage to the next.
        fixed_s: seconds of a microbatch at a stage however small, as measured; 0: not yet.
        others_s: seconds of a stage that other drivers take while each of so many requests of this one's gets a token,
            beside so many seconds for each microbatch, as measured; None: not yet.
        give_up: tells all stages to compute nothing more up to the microbatch of a number.
        flew: hears from when to when a microbatch was in flight.
        clock: in seconds.
    """

    def __init__(
        self,
        stage: ModelStage,
        space: GroupSpace,
        post: Post,
        take: Callable[[Microbatch], None],
        work: Callable[[], None],
        epoch: int,
        microbatches: int,
        least_tokens: int = 1,
        drivers: Callable[[], int] = lambda: 1,
        latency_s: float = 0.0,
        fixed_s: Callable[[], float] = lambda: 0.0,
        others_s: Callable[[int, float], float | None] = lambda running, fixed_s: None,
        give_up: Callable[[int], None] = lambda number: None,
        flew: Callable[[tuple[float, float]], object] = lambda span: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._give_up, self._flew, self._clock = give_up, flew, clock
        self._least_tokens, self._drivers = least_tokens, drivers
        self._latency_s, self._fixed_s, self._others_s = latency_s, fixed_s, others_s
        self.capacity = microbatches
        self.submitted = 0
        self.answered = 0
        self.epoch = epoch
        self._stage, self._space, self._post, self._take, self._work = stage, space, post, take, work
        self._flying: deque[_Flying] = deque()
        self._turns = Turns()
        self._broken: str | None = None

    @property
    def least_tokens(self) -> int:
        """Tokens below which a step is not cut: where others keep the stages busy, small parts only cost more."""
        if self._drivers() == 1:
            return 1
        return max(self._least_tokens, -(-len(self._space.names) // DEALT))

    def parts(self, fixed_s: float, work_s: float) -> int:
        """Return to how many microbatches work is best cut, with what other drivers have in between.

        Each microbatch reads a stage's weights, and a token comes round when all of them have: with as many requests,
        few large ones come round sooner, for as long as no stage waits.
        """
        stages = len({segment.instance for segment in self._space.segments})
        fixed_s = max(fixed_s, stages * self._fixed_s())
        others_s = self._others_s(len(self._space.names), fixed_s / stages)
        return best_parts(
            fixed_s,
            work_s,
            self.capacity,
            stages,
            self._drivers(),
            self._latency_s,
            others_s=others_s,
            own_s=self._turns.typical_s,
        )

    @property
    def in_flight(self) -> int:
        """Microbatches that were not answered."""
        return len(self._flying)

    @property
    def ended(self) -> bool:
        """Whether a microbatch came back, or was lost."""
        return self._ended() is not None

    def submit(self, batch: Batch) -> None:
        """Send a microbatch to the first stage; never waits."""
        self.submitted += 1
        flying = _Flying(self.submitted, batch, self._clock())
        self._flying.append(flying)
        microbatch = self._made(batch)
        first = microbatch.segment.instance
        try:
            if first == self._post.me:
                self._take(microbatch)
            else:
                self._post.send(first, Lane.ACTIVATIONS, microbatch.to_message())
        except LinkLost as error:
            flying.reason = str(error)
        self._turns.sent(self._clock())

    def next(self) -> tuple[Batch, torch.Tensor]:
        """Work until a microbatch is there; return it and its logits float32 [samples, vocabulary].

        Raises MicrobatchLost when the group is broken, or a stage could not compute one.
        """
        while (found := self._ended()) is None and self._broken is None:
            try:
                self._work()
            except Exception:
                # Whoever asked takes the oldest microbatch for failed; the next answer is that of another one.
                self._flying.popleft()
                self._answered()
                raise
        if self._broken is not None:
            self._flying.clear()
            raise MicrobatchLost(self._broken, frozenset(self._space.names))
        assert found is not None
        if found.hidden is None:
            # What came after it may have been computed on what it should have stored.
            names = frozenset(name for flying in self._flying for name in flying.batch.names)
            self._flying.clear()
            self.answered = self.submitted
            self._give_up(self.submitted)
            raise MicrobatchLost(found.reason or "lost", names)
        self._flying.remove(found)
        now = self._clock()
        self._flew((found.since_s, now))
        self._turns.answered(now)
        self._answered()
        return found.batch, self._stage.logits(found.hidden.to(self._stage.ends.head.device))

    def done(self, number: int, hidden: torch.Tensor) -> None:
        """Take what the last stage made of a microbatch; one that nobody waits for changes nothing."""
        for flying in self._flying:
            if flying.number == number:
                flying.hidden = hidden

    def failed(self, number: int, reason: str) -> None:
        """Take note that a stage could not compute a microbatch."""
        for flying in self._flying:
            if flying.number == number:
                flying.reason = reason

    def _ended(self) -> _Flying | None:
        """The oldest microbatch that came back or was lost: prompts overtake at the stages."""
        return next((one for one in self._flying if one.hidden is not None or one.reason is not None), None)

    def _answered(self) -> None:
        """Up to which microbatch all were answered."""
        self.answered = self._flying[0].number - 1 if self._flying else self.submitted

    def break_off(self, reason: str) -> None:
        """Give up everything: the group is broken."""
        self._broken = reason

    def _made(self, batch: Batch) -> Microbatch:
        segments = self._space.segments
        parts = [self._space.parts(name) for name in batch.names]
        base = np.array([[some[place].base for some in parts] for place in range(len(segments))], np.int32)
        older = tuple(
            tuple(
                Older(sequence, old.instance, old.piece, old.tokens)
                for sequence, some in enumerate(parts)
                for old in some[place].older
                if old.tokens
            )
            for place in range(len(segments))
        )
        return Microbatch(
            epoch=self.epoch,
            driver=self._post.me,
            number=self.submitted,
            segments=segments,
            place=0,
            hidden=self._stage.embed(batch),
            positions=batch.positions,
            starts=batch.starts,
            samples=batch.samples.astype(np.int32),
            pieces=tuple(tuple(some[place].piece for some in parts) for place in range(len(segments))),
            stored=(batch.stored[None, :] - base).astype(np.int32),
            older=older,
        )
