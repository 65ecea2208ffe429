"""Memory bandwidth by a short copy: a lower bound that every device can measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.reading import Missing

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MemoryBandwidth:
    """What one thread copied. ``traffic_bytes_per_s`` counts every byte twice: read and written.

    It is a lower bound of the memory's bandwidth: one core of a server cannot use all of its channels, and a
    write that first fetches its cache line moves a third byte that is not counted. ``within_cache`` says that
    the buffers fit a cache together, and then it is no bound of the memory at all.
    The uncertainty is half the spread of the middle half of the copies.
    """

    at: Moment
    traffic_bytes_per_s: float
    traffic_uncertainty_bytes_per_s: float
    copies: int
    buffer_bytes: int
    within_cache: bool


class MemoryBandwidthSensor:
    """Copies one byte array onto another until ``duration_max_s`` is over, three times at least.

    Both buffers live only for the measurement, but count towards this process's resident memory for that time.
    """

    def __init__(
        self,
        *,
        buffer_bytes: int = 32 * _MEBIBYTE,
        cache_bytes: int = 0,
        duration_max_s: float = 0.1,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        if buffer_bytes < 1:
            raise ValueError(f"buffer_bytes is {buffer_bytes}: expected at least 1")
        self._buffer_bytes, self._cache_bytes = buffer_bytes, cache_bytes
        self._duration_max_s, self._timer = duration_max_s, timer

    def read(self, at: Moment | None = None) -> MemoryBandwidth | Missing:
        try:
            durations_s = self._copy()
        except MemoryError:
            return Missing("memory bandwidth", f"no room for two buffers of {self._buffer_bytes} bytes", "refused")
        import statistics  # here, because it brings decimal and fractions, and few processes measure

        speeds = sorted(2 * self._buffer_bytes / max(each, 1e-9) for each in durations_s)
        low, _, high = statistics.quantiles(speeds, n=4)
        return MemoryBandwidth(
            at=at or now(),
            traffic_bytes_per_s=statistics.median(speeds),
            traffic_uncertainty_bytes_per_s=(high - low) / 2,
            copies=len(speeds),
            buffer_bytes=self._buffer_bytes,
            within_cache=2 * self._buffer_bytes <= self._cache_bytes,
        )

    def _copy(self) -> list[float]:
        source, target = bytearray(self._buffer_bytes), bytearray(self._buffer_bytes)
        view, durations_s = memoryview(target), list[float]()
        # Zeroed pages may all be one page of the kernel until they are written; the first copy maps them.
        source[::4096] = b"\1" * len(range(0, self._buffer_bytes, 4096))
        view[:] = source
        end_s = self._timer() + self._duration_max_s
        while len(durations_s) < 3 or self._timer() < end_s:
            start_s = self._timer()
            view[:] = source
            durations_s.append(self._timer() - start_s)
        return durations_s
