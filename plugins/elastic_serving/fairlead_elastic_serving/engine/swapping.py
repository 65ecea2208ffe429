"""Pages of suspended requests in host memory."""

from __future__ import annotations

import numpy as np
import torch

from ..memory import PageMemory
from ..scheduling.requests import Step


class HostPages:
    """Copies pages between an arena and host memory as steps say.

    Args:
        memory: the arena's.
        pages: uint8 [host pages, page_bytes], in host memory.
    """

    def __init__(self, memory: PageMemory, pages: torch.Tensor) -> None:
        self.memory, self.pages = memory, pages

    def carry_out(self, step: Step) -> None:
        """Make a step's copies: all that go out, then all that come in."""
        for swap in step.swaps_out:
            self.pages[_index(swap.slots)] = self.memory.read(swap.pages).to(self.pages.device)
        for swap in step.swaps_in:
            self.memory.write(swap.pages, self.pages[_index(swap.slots)])


def _index(slots: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(slots.astype(np.int64))
