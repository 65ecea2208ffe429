"""Computes this instance's layers of microbatches, its own and others', in the order in which they come.

Those with prompts go first: somebody waits for a first token, and behind them nobody's next token is much later.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import torch

from ..errors import OutOfPages
from ..links.link import Lane, LinkLost, Message
from ..model.stage import Stage as ModelStage
from ..planning.cost_model import Chunk
from .attention import GroupBatch
from .microbatch import Microbatch
from .post import Post
from .row_store import RowStore
from .stage_cost import Rounds, StageCost

LATELY_S = 0.5
PATIENCE_S = 10.0
"""How long a microbatch may wait for pages: what gives them back is on its way over another link."""


class StageService:
    """The stage of one instance.

    Attributes:
        busy_s: seconds that it computed.
        computed: microbatches.
        cost: of a microbatch here, as measured.
        rounds: whose next tokens were computed of late.

    Args:
        stage: the layers.
        store: where keys and values are.
        post: sends what comes out.
        clock: in seconds.
    """

    def __init__(
        self, stage: ModelStage, store: RowStore, post: Post, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stage = stage
        self.busy_s = 0.0
        self.computed = 0
        self.cost = StageCost()
        self.rounds = Rounds(LATELY_S)
        self._foreign: dict[str, float] = {}
        self._store, self._post, self._clock = store, post, clock
        self._tasks: deque[tuple[float, Microbatch]] = deque()
        self._given_up: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, microbatch: Microbatch) -> None:
        """Queue a microbatch whose next segment is here, unless its driver has given it up."""
        if (microbatch.epoch, microbatch.number) <= self._given_up.get(microbatch.driver, (0, 0)):
            return
        now = self._clock()
        if microbatch.driver != self._post.me:
            self._foreign[microbatch.driver] = now
        self._queue(now, microbatch)

    def drivers(self) -> int:
        """Return how many drivers are at work: this one, and whoever has sent a microbatch of late."""
        since = self._clock() - LATELY_S
        return 1 + sum(at > since for at in self._foreign.values())

    def forget(self, driver: str | None = None) -> None:
        """Drop what is queued, of one driver or of all."""
        self._tasks = deque(task for task in self._tasks if driver not in (None, task[1].driver))

    def give_up(self, driver: str, epoch: int, number: int) -> None:
        """Compute nothing of a driver up to a microbatch, whether it is queued or still on its way here.

        What the driver lost it asks for again under other names: pieces that a late one made would be nobody's.
        """
        last = self._given_up[driver] = (epoch, number)
        self._tasks = deque(
            (came, task) for came, task in self._tasks if task.driver != driver or (task.epoch, task.number) > last
        )

    def _queue(self, now: float, microbatch: Microbatch) -> None:
        """Put prompts before what waits for its next token, and behind other prompts."""
        if not microbatch.prompts:
            self._tasks.append((now, microbatch))
            return
        # A single token may be the end of a prompt's part: what belongs to one request stays in its order.
        mine = set(microbatch.pieces[microbatch.place])
        before = [
            place
            for place, (_, task) in enumerate(self._tasks)
            if task.prompts or not mine.isdisjoint(task.pieces[task.place])
        ]
        self._tasks.insert(before[-1] + 1 if before else 0, (now, microbatch))

    def step(self) -> bool:
        """Compute the first microbatch that has its pages; false if there is none."""
        place, behind = 0, set[str]()
        while place < len(self._tasks):
            came, microbatch = self._tasks[place]
            pieces = microbatch.pieces[microbatch.place]
            began = self._clock()
            try:
                # What its request has before it must not wait for pages.
                hidden = self._run(microbatch) if behind.isdisjoint(pieces) else None
            except OutOfPages as error:
                hidden = None
                if began - came > PATIENCE_S:
                    del self._tasks[place]
                    self._fail(microbatch, error)
                    continue
            except Exception as error:
                # The driver decides what to do about it; this instance serves on.
                del self._tasks[place]
                self._fail(microbatch, error)
                return True
            if hidden is None:
                behind.update(pieces)
                place += 1
                continue
            del self._tasks[place]
            self.busy_s += self._clock() - began
            self.computed += 1
            chunks = _chunks(microbatch)
            self._pass_on(microbatch, hidden)
            ended = self._clock()
            self.cost.measured(chunks, ended - began if chunks else 0.0)
            if not microbatch.prompts:
                mine = microbatch.driver == self._post.me
                self.rounds.computed(ended, ended - began, len(microbatch.starts) - 1 if mine else 0)
            return True
        return False

    def _run(self, microbatch: Microbatch) -> torch.Tensor:
        segment, place = microbatch.segment, microbatch.place
        ends = microbatch.stored[place] + np.diff(microbatch.starts)
        rows = [
            self._store.ensure(name, microbatch.driver, segment.layers, int(end))
            for name, end in zip(microbatch.pieces[place], ends, strict=True)
        ]
        batch = GroupBatch(
            names=microbatch.pieces[place],
            tokens=np.zeros(len(microbatch.positions), np.int64),
            positions=microbatch.positions,
            starts=microbatch.starts,
            rows=np.stack(rows),
            stored=np.ascontiguousarray(microbatch.stored[place]),
            samples=microbatch.samples,
            older=microbatch.older[place],
        )
        weights = self.stage.ends.embedding
        return self.stage.run(batch, microbatch.hidden.to(weights.device), segment.layers)

    def _pass_on(self, microbatch: Microbatch, hidden: torch.Tensor) -> None:
        if microbatch.last:
            wanted = hidden[torch.from_numpy(microbatch.samples.astype(np.int64)).to(hidden.device)]
            self._reply(microbatch, Message("done", {"number": microbatch.number}, {"hidden": wanted}))
            return
        microbatch.place += 1
        microbatch.hidden = hidden
        if microbatch.segment.instance == self._post.me:
            self._tasks.appendleft((self._clock(), microbatch))
            return
        with suppress(LinkLost):
            self._post.send(microbatch.segment.instance, Lane.ACTIVATIONS, microbatch.to_message())

    def _fail(self, microbatch: Microbatch, error: Exception) -> None:
        self._reply(microbatch, Message("failed", {"number": microbatch.number, "reason": str(error)}))

    def _reply(self, microbatch: Microbatch, message: Message) -> None:
        # Where the driver is gone, nobody waits.
        with suppress(LinkLost):
            self._post.send(microbatch.driver, Lane.ACTIVATIONS, message)


def _chunks(microbatch: Microbatch) -> list[Chunk]:
    """What a stage computes of a microbatch; nothing where a part of it is attended to elsewhere."""
    place = microbatch.place
    if microbatch.older[place]:
        return []
    lengths = np.diff(microbatch.starts).tolist()
    return [Chunk(stored, tokens) for stored, tokens in zip(microbatch.stored[place].tolist(), lengths, strict=True)]
