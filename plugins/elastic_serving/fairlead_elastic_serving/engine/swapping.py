"""Pages of suspended requests in host memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from ..memory import PageMemory
from ..scheduling.requests import Step


class HostPages:
    """Copies pages between an arena and host memory as steps say.

    Args:
        memory: the arena's.
        pages: uint8 [host pages, page_bytes], in host memory.
        clock: in seconds.
    """

    def __init__(self, memory: PageMemory, pages: torch.Tensor, clock: Callable[[], float] = time.monotonic) -> None:
        self.memory, self.pages = memory, pages
        self._clock = clock
        self._moved_bytes, self._moved_s = 0, 0.0

    @property
    def bytes_per_s(self) -> float | None:
        """How fast copies were so far; None before the first one."""
        return self._moved_bytes / self._moved_s if self._moved_s > 0 else None

    def carry_out(self, step: Step) -> None:
        """Make a step's copies: all that go out, then all that come in."""
        if not (step.swaps_out or step.swaps_in):
            return
        started_s = self._clock()
        self._copy(step)
        self._moved_s += self._clock() - started_s
        slots = [swap.slots for swap in (*step.swaps_out, *step.swaps_in)]
        self._moved_bytes += self.memory.page_bytes * sum(map(len, slots))

    def _copy(self, step: Step) -> None:
        for swap in step.swaps_out:
            self.pages[_index(swap.slots)] = self.memory.read(swap.pages).to(self.pages.device)
        for swap in step.swaps_in:
            self.memory.write(swap.pages, self.pages[_index(swap.slots)])


def _index(slots: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(slots.astype(np.int64))
