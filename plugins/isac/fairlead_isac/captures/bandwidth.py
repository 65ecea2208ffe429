"""Traces of a mobile link's bandwidth: two columns, time in s and throughput in Mbit/s."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .problems import BadCapture, content


@dataclass(frozen=True)
class BandwidthTrace:
    """A trace.

    Attributes:
        path: of the file.
        times_s: [samples], ascending, from 0.
        rates_bits_per_s: [samples], each from its time on.
    """

    path: Path
    times_s: NDArray[np.float64]
    rates_bits_per_s: NDArray[np.float64]

    @property
    def duration_s(self) -> float:
        """Until the trace begins again: the last sample lasts as long as the others in the median."""
        steps = np.diff(self.times_s)
        return float(self.times_s[-1] + (np.median(steps) if len(steps) else 1.0))

    def at(self, time_s: ArrayLike) -> NDArray[np.float64]:
        """Rates in bit/s at times (any shape); the trace is repeated."""
        within = np.mod(np.asarray(time_s, np.float64), self.duration_s)
        return self.rates_bits_per_s[np.searchsorted(self.times_s, within, side="right") - 1]


def read_bandwidth(path: Path) -> BandwidthTrace:
    """Read a trace.

    Raises:
        BadCapture: a line is no pair of numbers, a time does not grow or a rate is negative.
    """
    rows: list[tuple[float, float]] = []
    for number, line in enumerate(content(path).decode("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            time, rate = map(float, line.split())
        except ValueError:
            raise BadCapture(path, f"line {number}", repr(line[:60]), "time in s and rate in Mbit/s") from None
        if not (np.isfinite(time) and 0 <= rate < 1e6) or (rows and time <= rows[-1][0]):
            raise BadCapture(path, f"line {number}", repr(line[:60]), "a later time than before and a rate from 0")
        rows.append((time, rate))
    if not rows:
        raise BadCapture(path, "lines", 0, "at least one line with time in s and rate in Mbit/s")
    table = np.array(rows)
    return BandwidthTrace(path, table[:, 0] - table[0, 0], table[:, 1] * 1e6)
