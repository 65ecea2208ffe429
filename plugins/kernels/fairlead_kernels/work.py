"""What feed-forward layers computed, read and waited for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: The columns of a work array int64 [layers, len(FIELDS)], in the order of the extension's struct Work:
#: neurons chosen by a predictor (all where none decides), gate rows computed, gates that were not zero; neurons found
#: in the cache's fixed, hot and cold region, and neurons that had to be read; reads and their bytes; nanoseconds with
#: a read in flight, the part of them in which nothing was left to compute, and nanoseconds in the predictor; experts
#: of a mixture whose weights a call read, each once however many of its tokens chose it.
FIELDS = (
    "predicted",
    "computed",
    "active",
    "fixed_hits",
    "hot_hits",
    "cold_hits",
    "misses",
    "reads",
    "read_bytes",
    "read_ns",
    "stalled_ns",
    "predictor_ns",
    "experts",
)
PREDICTED, COMPUTED, ACTIVE = 0, 1, 2
EXPERTS = len(FIELDS) - 1

Work = NDArray[np.int64]


def empty_work(layers: int) -> Work:
    """Return zeros int64 [layers, fields]."""
    return np.zeros((layers, len(FIELDS)), np.int64)
