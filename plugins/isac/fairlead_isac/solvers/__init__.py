"""What a slot decides, and the slow convex programs that it is held against (``solvers.reference``)."""

from fairlead_isac.solvers.allocation import Allocation, allocate, proportional_fair_weights
from fairlead_isac.solvers.illumination import Illumination, illuminate

__all__ = ["Allocation", "Illumination", "allocate", "illuminate", "proportional_fair_weights"]
