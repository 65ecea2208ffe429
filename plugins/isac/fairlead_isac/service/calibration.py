"""How fast this processor turns looks into estimates, measured with a simulated radio at start."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from ..requests.admission import Looks
from ..requests.request import Area
from ..settings import Settings
from .cell_state import cell_of
from .radio_front import SimulatedFront
from .sensing import look_elements, observe

RUNS, LOOKS = 3, 16


def measure(settings: Settings) -> float:
    """Resource elements a second, the median of a few short intervals."""
    cell, rng, times = cell_of(settings), np.random.default_rng(0), list[float]()
    front = SimulatedFront(settings, cell)
    comb = 8 if cell.numerology.subcarriers >= 800 else 1
    looks = Looks(LOOKS, 4 * cell.numerology.symbol_s, comb, 2, 1.0, 0.0, 0.0)
    area = Area(range_m=50.0)
    for _ in range(RUNS):
        began = time.perf_counter()
        observe(front, looks, area, cell, 0.05, rng)
        times.append(time.perf_counter() - began)
    front.close()
    return look_elements(cell, looks) / median(times)
