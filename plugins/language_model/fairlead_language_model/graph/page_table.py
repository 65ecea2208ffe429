"""Which pages hold the keys and values of one sequence."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class PageTable:
    """The pages of one sequence in order, and how many tokens they hold.

    Token t lies in pages[t // page_size] at slot t % page_size. Pages come from, and go back to, a KVPages.
    """

    pages: list[int] = field(default_factory=list[int])
    length: int = 0

    def array(self) -> NDArray[np.int32]:
        """Return the page numbers as int32 [pages], as kernels take them."""
        return np.asarray(self.pages, dtype=np.int32)
