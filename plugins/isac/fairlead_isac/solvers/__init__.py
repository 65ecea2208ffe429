"""What a slot decides, and the slow convex programs that it is held against (``solvers.reference``)."""

from fairlead_isac.solvers.allocation import Allocation, allocate, proportional_fair_weights
from fairlead_isac.solvers.angle import Sharpness, angle_information, sharpen
from fairlead_isac.solvers.beampattern import ShapedPattern, shape_beampattern
from fairlead_isac.solvers.deadline import Pace
from fairlead_isac.solvers.fractional import Efficiency, LinkPowers, control_power, most_efficient
from fairlead_isac.solvers.illumination import Illumination, illuminate
from fairlead_isac.solvers.water import TimeSplit, WaterFill, time_split, water_fill
from fairlead_isac.solvers.wmmse import Precoder, wmmse

__all__ = [
    "Allocation",
    "Efficiency",
    "Illumination",
    "LinkPowers",
    "Pace",
    "Precoder",
    "ShapedPattern",
    "Sharpness",
    "TimeSplit",
    "WaterFill",
    "allocate",
    "angle_information",
    "control_power",
    "illuminate",
    "most_efficient",
    "proportional_fair_weights",
    "shape_beampattern",
    "sharpen",
    "time_split",
    "water_fill",
    "wmmse",
]
