"""How fast a link is over time: a rate that is constant from one time to the next, repeated when it ends. Pure."""

from __future__ import annotations

import math
import os
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_FILE_BYTES_MAX = 64 << 20
_MBIT = 1e6


class TraceError(ValueError):
    """A trace, or a file of one, that says no rate: names the place, the value and what is accepted."""


@dataclass(frozen=True, slots=True)
class RateTrace:
    """``bits_per_s[i]`` holds from ``times_s[i]`` (of which the first is 0) to the next, the last until ``period_s``.

    Then it starts again. Zero is an outage; not all may be zero. ``bits[i]`` is what passes before ``times_s[i]``.
    """

    times_s: tuple[float, ...]
    bits_per_s: tuple[float, ...]
    period_s: float
    bits: tuple[float, ...]

    @classmethod
    def of(cls, times_s: Sequence[float], bits_per_s: Sequence[float]) -> RateTrace:
        """From times of any start, strictly growing; the last rate holds as long as the others do in the median.

        Raises:
            TraceError: as many times as rates are needed, finite, and a rate above zero.
        """
        if not times_s or len(times_s) != len(bits_per_s):
            raise TraceError(f"{len(times_s)} times and {len(bits_per_s)} rates; accepted: as many, and not none")
        steps = [later - earlier for earlier, later in pairwise(times_s)]
        for number, (time_s, rate) in enumerate(zip(times_s, bits_per_s, strict=True)):
            if not math.isfinite(time_s) or (number and not steps[number - 1] > 0):
                raise TraceError(f"time {number}: {time_s:g} s; accepted: finite and later than the one before")
            if not 0 <= rate < 1e15:
                raise TraceError(f"rate {number}: {rate:g} bit/s; accepted: 0 to 1e15")
        if not any(bits_per_s):
            raise TraceError("all rates are 0 bit/s; accepted: one above 0 at least")
        steps.append(sorted(steps)[len(steps) // 2] if steps else 1.0)
        bits = [0.0]
        for rate, step in zip(bits_per_s, steps, strict=True):
            bits.append(bits[-1] + rate * step)
        starts = tuple(time_s - times_s[0] for time_s in times_s)
        return cls(starts, tuple(bits_per_s), starts[-1] + steps[-1], tuple(bits))

    @classmethod
    def constant(cls, bits_per_s: float) -> RateTrace:
        """Always the same rate; TraceError where it is not above zero."""
        return cls.of((0.0,), (bits_per_s,))

    @classmethod
    def read(cls, path: str, unit_bits_per_s: float = _MBIT) -> RateTrace:
        """Two columns: seconds, and the rate in ``unit_bits_per_s`` (Mbit/s); lines with # and empty ones do not count.

        Raises:
            TraceError: names the file and the line.
        """
        times_s: list[float] = []
        rates: list[float] = []
        for number, line in enumerate(_lines(path), start=1):
            words = line.replace(",", " ").split()
            if not words or words[0].startswith("#"):
                continue
            try:
                time_s, rate = (float(word) for word in words)
            except ValueError:
                raise TraceError(f"{path}:{number}: {line[:60]!r}; accepted: seconds and a rate in Mbit/s") from None
            times_s.append(time_s)
            rates.append(rate * unit_bits_per_s)
        try:
            return cls.of(times_s, rates)
        except TraceError as error:
            raise TraceError(f"{path}: {error}") from None

    @property
    def mean_bits_per_s(self) -> float:
        """Over a whole period."""
        return self.bits[-1] / self.period_s

    def rate_at(self, time_s: float) -> float:
        """Bits per second at a time since the trace's start."""
        return self.bits_per_s[bisect_right(self.times_s, time_s % self.period_s) - 1]

    def passed(self, time_s: float) -> float:
        """Bits that a busy link passes from the start until then."""
        periods, within_s = divmod(time_s, self.period_s)
        index = bisect_right(self.times_s, within_s) - 1
        here = self.bits[index] + (within_s - self.times_s[index]) * self.bits_per_s[index]
        return periods * self.bits[-1] + here

    def finish(self, start_s: float, size_bits: float) -> float:
        """When something is through of which the first bit goes at ``start_s``: the first time that is late enough."""
        target = self.passed(start_s) + size_bits
        periods = math.floor(target / self.bits[-1])
        within = min(max(0.0, target - periods * self.bits[-1]), self.bits[-1])
        if within == 0.0 and periods:  # through at the very end of a period, and not after the outage that follows
            periods, within = periods - 1, self.bits[-1]
        index = min(max(0, bisect_left(self.bits, within) - 1), len(self.bits_per_s) - 1)
        rate = self.bits_per_s[index]
        here_s = self.times_s[index] + ((within - self.bits[index]) / rate if rate else 0.0)
        return max(start_s, periods * self.period_s + here_s)


def _lines(path: str) -> list[str]:
    try:
        if os.path.getsize(path) > _FILE_BYTES_MAX:
            raise TraceError(f"{path}: more than {_FILE_BYTES_MAX} bytes; accepted: a shorter trace")
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}; accepted: a readable file of two columns") from error
