"""A measured quantity."""

from __future__ import annotations

from typing import NamedTuple


class Measured(NamedTuple):
    """A value with the time at which it was measured and how far it may be off.

    A tuple and not a dataclass: a site holds hundreds of thousands of them.
    """

    value: float
    """In the unit that the attribute's name ends in."""
    measured_at: float
    """Unix seconds, by the clock of the node that measured."""
    uncertainty: float = 0.0
    """One standard deviation, in the unit of ``value``."""

    def at_least(self, sigmas: float) -> float:
        """The value less ``sigmas`` standard deviations: what a careful reader counts on."""
        return self.value - sigmas * self.uncertainty
