"""Bandwidth over time as a share of its mean: recorded on the road, or made where there is no record."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlead_isac.captures.bandwidth import read_bandwidth
from fairlead_isac.errors import IsacError

F64 = NDArray[np.float64]

#: Of made traces: memory and spread of the logarithm, the medians over 80 traces that were recorded in trams, trains,
#: buses and cars in Norway.
MEMORY_S, SPREAD, STEP_S = 12.0, 0.43, 0.5


class RateTrace:
    """A link's rate relative to its mean, linear between samples, repeated.

    Args:
        name: where it is from.
        times_s: float64 [samples], ascending, from 0.
        relative: float64 [samples], 0 or more; scaled to a mean of 1.

    Raises:
        IsacError: there are fewer than two samples, or the mean is 0.
    """

    def __init__(self, name: str, times_s: ArrayLike, relative: ArrayLike) -> None:
        self.name = name
        self._times, values = np.asarray(times_s, np.float64), np.asarray(relative, np.float64)
        if len(self._times) < 2 or len(self._times) != len(values) or not values.mean() > 0.0:
            raise IsacError(f"trace {name!r}: {len(self._times)} samples; accepted: two or more, with a mean above 0")
        self._values = values / values.mean()

    @property
    def duration_s(self) -> float:
        """Until it is repeated."""
        return float(self._times[-1])

    def at(self, t: float) -> float:
        """The rate at a time, relative to the mean."""
        return float(np.interp(t % self.duration_s, self._times, self._values))


def recorded_traces(folder: Path, most: int | None = None) -> list[RateTrace]:
    """Read all traces below a folder, in order of their paths; files that are no trace are left out.

    Args:
        folder: of files with two columns, s and Mbit/s.
        most: how many at most, spread evenly over all; None: all.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".md", ".txt"))
    files = [file for file in files if "license" not in file.name.lower()]
    if most is not None and len(files) > most:
        files = [files[round(number * (len(files) - 1) / max(1, most - 1))] for number in range(most)]
    found = []
    for file in files:
        trace = read_bandwidth(file)
        if len(trace.times_s) > 1 and trace.rates_bits_per_s.mean() > 0.0:
            found.append(RateTrace(f"{file.parent.name}/{file.name}", trace.times_s, trace.rates_bits_per_s))
    return found


def made_trace(seconds: float, rng: np.random.Generator, name: str = "made") -> RateTrace:
    """A first-order autoregression of the logarithm, with the spread and memory of recorded ones."""
    count = max(2, int(np.ceil(seconds / STEP_S)) + 1)
    kept = np.exp(-STEP_S / MEMORY_S)
    logs = np.empty(count)
    logs[0] = rng.normal(0.0, SPREAD)
    for number in range(1, count):
        logs[number] = kept * logs[number - 1] + np.sqrt(1.0 - kept * kept) * rng.normal(0.0, SPREAD)
    return RateTrace(name, np.arange(count) * STEP_S, np.exp(logs))


def available_traces(most: int, seconds: float, rng: np.random.Generator) -> list[RateTrace]:
    """Recorded traces from ``$FAIRLEAD_DATA/radio/bandwidth/hsdpa_norway``; as many made ones where there are none."""
    root = os.environ.get("FAIRLEAD_DATA")
    folder = Path(root) / "radio" / "bandwidth" / "hsdpa_norway" if root else None
    if folder is not None and folder.is_dir():
        return recorded_traces(folder, most)
    return [made_trace(seconds, rng, f"made-{number}") for number in range(most)]
