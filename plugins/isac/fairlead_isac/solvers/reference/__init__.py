"""The same decisions as convex programs in CVXPY, solved by Clarabel: slow, and what the fast solvers are held against.

Needs the extra ``fairlead-isac[reference]``; importing this package does not.
"""

from fairlead_isac.solvers.reference.allocation import allocate_reference
from fairlead_isac.solvers.reference.angle import angle_reference
from fairlead_isac.solvers.reference.beampattern import pattern_reference, shared_reference
from fairlead_isac.solvers.reference.convex import Solution
from fairlead_isac.solvers.reference.illumination import illuminate_reference

__all__ = [
    "Solution",
    "allocate_reference",
    "angle_reference",
    "illuminate_reference",
    "pattern_reference",
    "shared_reference",
]
