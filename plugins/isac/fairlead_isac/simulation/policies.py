"""Who decides: all granularities, or one alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.band import BandLayer
from fairlead_isac.granularity.cell import CellLayer
from fairlead_isac.granularity.hierarchy import Hierarchy
from fairlead_isac.granularity.single import FrozenSlotLayer, MyopicSlotLayer, PacedSlotLayer
from fairlead_isac.granularity.slot import Scheduler, SlotLayer
from fairlead_isac.granularity.symbol import SymbolLayer
from fairlead_isac.scenario import Cell
from fairlead_isac.solvers.allocation import allocate

BAND_S, CELL_S = 1.0, 0.05


@dataclass(frozen=True, slots=True)
class Policy:
    """Makes the layers for a cell.

    Attributes:
        name: of POLICIES.
        bits_per_refresh: what an interval in which all needs of a target are met is worth in bits of data: 0 senses
            nothing, large values sense all.
        most_sensing: cap on sensing's share of time.
        scheduler: of data within a slot.
    """

    name: str = "multi-granularity"
    bits_per_refresh: float = 1e6
    most_sensing: float = 0.5
    scheduler: Scheduler = allocate

    def __post_init__(self) -> None:
        if self.name not in POLICIES:
            raise IsacError(f"policy {self.name!r}; accepted: {', '.join(POLICIES)}")

    def hierarchy(self, cell: Cell) -> Hierarchy:
        """Fresh layers, coarsest first."""
        return POLICIES[self.name](self, cell.numerology.slot_s)


def _multi(policy: Policy, slot_s: float) -> Hierarchy:
    band = BandLayer(policy.bits_per_refresh, policy.most_sensing, period_s=BAND_S)
    return Hierarchy([band, CellLayer(CELL_S), SlotLayer(slot_s, policy.scheduler), SymbolLayer(slot_s)])


def _coarse(policy: Policy, slot_s: float) -> Hierarchy:
    band = BandLayer(policy.bits_per_refresh, policy.most_sensing, period_s=BAND_S)
    return Hierarchy([band, CellLayer(CELL_S), FrozenSlotLayer(slot_s, policy.scheduler), SymbolLayer(slot_s)])


def _slot(policy: Policy, slot_s: float) -> Hierarchy:
    layer = MyopicSlotLayer(slot_s, policy.bits_per_refresh, policy.most_sensing, policy.scheduler)
    return Hierarchy([layer, SymbolLayer(slot_s)])


def _paced(policy: Policy, slot_s: float) -> Hierarchy:
    layer = PacedSlotLayer(slot_s, policy.bits_per_refresh, policy.most_sensing, policy.scheduler)
    return Hierarchy([layer, SymbolLayer(slot_s)])


#: By name.
POLICIES: dict[str, Callable[[Policy, float], Hierarchy]] = {
    "multi-granularity": _multi,
    "slot": _slot,
    "slot-paced": _paced,
    "coarse": _coarse,
}
