"""Whatever comes, goes, moves and shrinks: every answer is the model's own, and every page is accounted for."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch

from fairlead_elastic_serving.engine.executor import LocalExecutor
from fairlead_elastic_serving.engine.loop import Loop
from fairlead_elastic_serving.engine.resizing import fit_pages
from fairlead_elastic_serving.engine.swapping import HostPages
from fairlead_elastic_serving.engine.telemetry import Telemetry
from fairlead_elastic_serving.errors import MicrobatchLost
from fairlead_elastic_serving.model.batch import Batch
from fairlead_elastic_serving.scheduling import Scheduler, Settings
from tests.plugins.elastic_serving.engine.conftest import MakeModel
from tests.plugins.elastic_serving.engine.serving import Collected, add, request
from tests.plugins.elastic_serving.random_models import RandomModel, some_tokens

END = 96
STEMS = [some_tokens(50, 90), some_tokens(50, 91)]


class Pipeline(LocalExecutor):
    """Several microbatches in flight, computed in order and answered in any; now and then all that are not answered are
    lost, with what some had stored.
    """

    capacity = 3
    least_tokens = 1

    def __init__(self, stage: Any, random: np.random.Generator) -> None:
        super().__init__(stage)
        self._random, self.share, self.lost = random, 0.0, 0
        self._done: list[tuple[Batch, torch.Tensor]] = []

    def parts(self, fixed_s: float, work_s: float) -> int:
        return int(self._random.integers(1, self.capacity + 1))

    def next(self) -> tuple[Batch, torch.Tensor]:
        if self._random.random() < self.share:
            out = [*self._batches, *(batch for batch, _ in self._done)]
            names = {name for batch in out for name in batch.names if self._random.random() < 0.5}
            self._batches: deque[Batch] = deque()
            self._done = []
            self.lost += 1
            raise MicrobatchLost("a peer is gone", frozenset(names))
        self._done += [super(Pipeline, self).next() for _ in range(len(self._batches))]
        # Those of one request stay in their order.
        names = [set(batch.names) for batch, _ in self._done]
        first = [place for place in range(len(names)) if not names[place] & set().union(*names[:place])]
        return self._done.pop(int(self._random.choice(first)))


class Crowd:
    """Requests that come and go at random over one loop; some begin alike."""

    def __init__(self, make_model: MakeModel, theirs: RandomModel, seed: int, **settings: Any) -> None:
        self.random = np.random.default_rng(seed)
        self.model = make_model(66, 120, context=90, **settings)
        self.executor = Pipeline(self.model.stage, self.random)
        host = HostPages(self.model.loaded.memory, self.model.host)
        scheduler = Scheduler(self.model.space, Settings(24, 5, page_bytes=1024))
        self.loop = Loop(scheduler, self.executor, host.carry_out, Telemetry(), check=True)
        self._theirs = theirs
        self.sent: list[tuple[Any, Collected, list[int], int]] = []

    def send(self) -> None:
        stem = STEMS[self.random.integers(2)][: self.random.integers(1, 50)]
        prompt = stem + some_tokens(int(self.random.integers(0, 12)), int(self.random.integers(5)))
        tokens = int(self.random.integers(1, 25))
        sequence, sink = add(self.loop, f"x{len(self.sent)}", self.model, request(prompt, tokens))
        self.sent.append((sequence, sink, prompt, tokens))

    def abort(self) -> None:
        self.loop.abort(self.sent[self.random.integers(len(self.sent))][0])

    def shrink_or_grow(self) -> None:
        fit_pages(self.loop, self.model, int(self.random.integers(42, 120)))
        self.loop.scheduler.check()

    def finish(self) -> None:
        for _ in range(3000):
            if not self.loop.sequences:
                return
            self.loop.turn()
        raise AssertionError(f"{self.loop.scheduler.load} requests do not end")

    def check(self) -> None:
        for _, sink, prompt, tokens in self.sent:
            # What the reference takes for the most likely token after each of the answer's.
            logits = self._theirs.logits(prompt + sink.tokens)[len(prompt) - 1 :]
            *best, further = logits.argmax(axis=-1).tolist()
            assert sink.tokens == best
            assert {"stop": further == END, "length": len(best) == tokens, "abort": True}[sink.end.reason]


@pytest.mark.parametrize(
    "settings",
    [{}, {"host_bytes": 40 << 10}, {"prefix_cache": False, "host_bytes": 200 << 10}],
    ids=["recompute", "little host memory", "swap"],
)
@pytest.mark.parametrize("capacity", [1, 3])
def test_a_crowd_is_answered_as_if_each_were_alone(
    make_model: MakeModel, llama: RandomModel, capacity: int, settings: dict[str, Any]
) -> None:
    crowd = Crowd(make_model, llama, seed=capacity, **settings)
    crowd.executor.capacity = capacity
    deeds = {crowd.send: 0.35, crowd.abort: 0.05, crowd.shrink_or_grow: 0.04}
    for _ in range(60):
        for deed, share in deeds.items():
            if crowd.random.random() < share and (crowd.sent or deed == crowd.send):
                deed()
        crowd.loop.turn()
    crowd.finish()
    crowd.check()
    assert crowd.loop.scheduler.preemptions > 0
    assert crowd.model.space.used == 0


def test_lost_microbatches_are_computed_again(make_model: MakeModel, llama: RandomModel) -> None:
    crowd = Crowd(make_model, llama, seed=5)
    crowd.executor.share = 0.15
    for _ in range(40):
        if crowd.random.random() < 0.4:
            crowd.send()
        crowd.loop.turn()
    crowd.finish()
    crowd.check()
    assert crowd.executor.lost > 3 and crowd.model.space.used == 0
