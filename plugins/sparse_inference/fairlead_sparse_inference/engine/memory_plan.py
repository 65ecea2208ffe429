"""How a memory budget becomes pages of keys and values, and slots of a neuron cache. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_language_model.serving import BudgetTooSmall

_MIB = 2**20
#: Of what a budget leaves beyond the minimum, the share that pages may take before the neuron cache is complete.
_PAGES_SHARE = 0.25


#: Of a neuron cache that holds everything, the least that is of use, and its smallest size.
_FEWEST_SHARE, _FEWEST_SLOTS = 1 / 32, 64


def fewest_slots(total: int) -> int:
    """Return the smallest neuron cache that the engine works with, of so many slots that hold everything."""
    return min(total, max(_FEWEST_SLOTS, int(total * _FEWEST_SHARE)))


@dataclass(frozen=True, slots=True)
class Shares:
    """What a budget is divided into."""

    pages: int
    slots: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What the engine holds: a fixed part, pages, and slots of a neuron cache where neurons are streamed.

    Attributes:
        base_bytes: resident memory of the process with the weights and without pages, and head room for requests.
        page_bytes: bytes of one page over all layers.
        sequence_pages: pages of one sequence at the full context.
        max_pages: pages beyond which nothing is gained.
        slot_bytes: bytes of a slot; 0 where all neurons are in the fixed part.
        min_slots, max_slots: fewest slots with which the engine works well enough, and those that hold every neuron.
    """

    base_bytes: int
    page_bytes: int
    sequence_pages: int
    max_pages: int
    slot_bytes: int = 0
    min_slots: int = 0
    max_slots: int = 0

    @property
    def minimum_bytes(self) -> int:
        """Fewest bytes with which one sequence at the full context can be served."""
        return self.bytes_for(self.sequence_pages, self.min_slots)

    def bytes_for(self, pages: int, slots: int = 0) -> int:
        """Return the bytes in use when so many pages and slots are filled."""
        return self.base_bytes + pages * self.page_bytes + slots * self.slot_bytes

    def divide(self, budget_bytes: int | None) -> Shares:
        """Return how many pages and slots a budget allows; None is no limit.

        Raises:
            BudgetTooSmall: not even one sequence and the smallest cache fit.
        """
        if budget_bytes is None:
            return Shares(self.max_pages, self.max_slots)
        free = budget_bytes - self.minimum_bytes
        if free < 0:
            raise BudgetTooSmall(budget_bytes, self.minimum_bytes)
        slots = self.max_slots
        if self.slot_bytes:
            most = self.max_pages - self.sequence_pages
            pages = min(most, int(free * _PAGES_SHARE) // self.page_bytes)
            slots = min(slots, self.min_slots + (free - pages * self.page_bytes) // self.slot_bytes)
        pages = (budget_bytes - self.bytes_for(0, slots)) // self.page_bytes
        return Shares(min(pages, self.max_pages), slots)

    def pages_within(self, budget_bytes: int | None) -> int:
        """Return how many pages a budget allows; see `divide`."""
        return self.divide(budget_bytes).pages

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
