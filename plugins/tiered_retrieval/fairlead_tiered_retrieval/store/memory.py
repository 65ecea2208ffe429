"""A budget of memory that all collections of a store share."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import BudgetExceeded
from .applying import Parts
from .operations import Operation, Update, Upsert
from .policy import FLAT

_FIELD_BYTES = 24
_DOCUMENT_BYTES = 24
_IN_MEMORY = ("dram:", "shm:")


class MemoryBudget:
    """Says no before memory is taken.

    Args:
        budget: bytes; None: not limited.
        used: what is taken now.
    """

    def __init__(self, budget: int | None, used: Callable[[], int]) -> None:
        self.budget, self._used = budget, used

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return self._used()

    @property
    def left(self) -> int | None:
        """Bytes that may be taken still; None: as many as there are."""
        return None if self.budget is None else max(0, self.budget - self.used)

    def check(self, what: str, more: int) -> None:
        """Raise BudgetExceeded where the budget does not leave so many bytes."""
        if self.budget is not None and (needed := self.used + more) > self.budget:
            raise BudgetExceeded(what, needed, self.budget)


def used_bytes(parts: Parts) -> int:
    """Return what a collection takes in memory: its index, ids and metadata."""
    served = parts.served
    plan, sizes = served.serving.plan, served.serving.index.sizes()
    # A tier that is this machine's memory counts; that of the flat index is the file.
    own = plan.kind != FLAT and (plan.region is None or plan.region.startswith(_IN_MEMORY))
    in_index = sizes.dram_bytes + served.beside.bytes + (sizes.tier_bytes if own else 0)
    return in_index + len(served.live) + parts.ids.bytes + parts.columns.bytes


def estimated_bytes(parts: Parts, operation: Operation) -> int:
    """Return what a write adds to that, at most about."""
    if not isinstance(operation, (Upsert, Update)):
        return 0
    fields = sum(len(entry) for entry in operation.metadata or ())
    if operation.vectors is None:
        return _FIELD_BYTES * fields
    texts = sum(len(key) for key in operation.ids if isinstance(key, str))
    count = len(operation.ids)
    return parts.served.serving.index.more_bytes(count) + _DOCUMENT_BYTES * count + texts + _FIELD_BYTES * fields
