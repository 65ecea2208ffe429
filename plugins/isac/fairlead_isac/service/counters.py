"""What the loops count, and the latest of what they measured; thread-safe."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

KEPT = 2000


class Counters:
    """Totals since the start, and the latest times of decisions and estimates."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[str, float] = {}
        self._times: dict[str, deque[float]] = {}

    def add(self, name: str, amount: float = 1) -> None:
        """Count."""
        with self._lock:
            self._totals[name] = self._totals.get(name, 0) + amount

    def total(self, name: str) -> float:
        """Of a name; 0 where nothing was counted."""
        with self._lock:
            return self._totals.get(name, 0)

    def took(self, name: str, seconds: float) -> None:
        """Note how long something took."""
        with self._lock:
            self._times.setdefault(name, deque(maxlen=KEPT)).append(seconds)
            self._totals[f"{name}s"] = self._totals.get(f"{name}s", 0) + 1

    def quantile(self, name: str, share: float, latest: int = KEPT) -> float | None:
        """Of the latest times; None where there are none."""
        with self._lock:
            times = list(self._times.get(name, ()))[-latest:]
        return float(np.quantile(times, share)) if times else None
