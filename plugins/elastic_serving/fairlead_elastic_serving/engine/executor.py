"""Who computes microbatches."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import torch

from ..model.batch import Batch
from ..model.stage import Stage


class Executor(Protocol):
    """Computes microbatches; a pipeline has several in flight, and those of one request stay in their order."""

    @property
    def capacity(self) -> int:
        """Microbatches that are to be in flight so that no stage waits."""
        ...

    @property
    def least_tokens(self) -> int:
        """Tokens of a microbatch, below which a step is rather not cut, where nobody knows what it costs."""
        ...

    def parts(self, fixed_s: float, work_s: float) -> int:
        """Return to how many microbatches work is best cut: each costs ``fixed_s``, all together ``work_s`` more."""
        ...

    def submit(self, batch: Batch) -> None:
        """Take a microbatch."""
        ...

    def next(self) -> tuple[Batch, torch.Tensor]:
        """Wait for a microbatch; return it and the logits that it asks for, float32 [samples, vocabulary].

        Raises:
            MicrobatchLost: all that were not returned are not computed and never will be: their chunks are to be
                planned anew. Requests that the error names have lost their keys and values.
        """
        ...


class LocalExecutor:
    """All layers on this instance, computed when the result is asked for."""

    capacity = 1
    least_tokens = 1

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._batches: deque[Batch] = deque()

    def parts(self, fixed_s: float, work_s: float) -> int:
        """One: nobody else computes."""
        return 1

    def submit(self, batch: Batch) -> None:
        """Take a microbatch."""
        self._batches.append(batch)

    def next(self) -> tuple[Batch, torch.Tensor]:
        """Compute the oldest microbatch; return it and its logits float32 [samples, vocabulary]."""
        batch = self._batches.popleft()
        hidden = self.stage.run(batch, self.stage.embed(batch), range(self.stage.config.num_hidden_layers))
        return batch, self.stage.sampled(batch, hidden)
