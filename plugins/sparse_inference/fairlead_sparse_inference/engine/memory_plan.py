"""How a memory budget becomes pages of keys and values. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import BudgetTooSmall

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What the engine holds: a fixed part, and pages.

    Attributes:
        base_bytes: resident memory of the process with the weights and without pages, and head room for requests.
        page_bytes: bytes of one page over all layers.
        sequence_pages: pages of one sequence at the full context.
        max_pages: pages beyond which nothing is gained.
    """

    base_bytes: int
    page_bytes: int
    sequence_pages: int
    max_pages: int

    @property
    def minimum_bytes(self) -> int:
        """Fewest bytes with which one sequence at the full context can be served."""
        return self.base_bytes + self.sequence_pages * self.page_bytes

    def bytes_for(self, pages: int) -> int:
        """Return the bytes in use when so many pages are filled."""
        return self.base_bytes + pages * self.page_bytes

    def pages_within(self, budget_bytes: int | None) -> int:
        """Return how many pages a budget allows; None is no limit.

        Raises:
            BudgetTooSmall: not even one sequence fits.
        """
        if budget_bytes is None:
            return self.max_pages
        if budget_bytes < self.minimum_bytes:
            raise BudgetTooSmall(budget_bytes, self.minimum_bytes)
        return min((budget_bytes - self.base_bytes) // self.page_bytes, self.max_pages)

    def marginal_cost(self, pages: int, used_pages: int, active: int) -> float:
        """Return the share of the throughput that taking the next MiB away would cost.

        Nothing while unused pages cover it; else the sequences whose pages go wait, of so many active ones.
        """
        taken = -(-_MIB // self.page_bytes)
        missing = taken - (pages - used_pages)
        if missing <= 0 or active == 0:
            return 0.0
        held = max(1, used_pages // active)
        return min(active, -(-missing // held)) / active
