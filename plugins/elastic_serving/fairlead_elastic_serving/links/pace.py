"""A token bucket: makes a link as slow as one that is not here. What is measured through it is labelled simulated."""

from __future__ import annotations


class TokenBucket:
    """Says how long to wait before bytes may go.

    Args:
        bytes_per_s: of the link that is simulated.
        burst_bytes: that go at once after a pause.
    """

    def __init__(self, bytes_per_s: float, burst_bytes: int = 65536) -> None:
        if not bytes_per_s > 0 or burst_bytes < 1:
            raise ValueError(f"bytes_per_s {bytes_per_s}, burst_bytes {burst_bytes}: accepted: above 0")
        self.bytes_per_s = bytes_per_s
        self._burst_s = burst_bytes / bytes_per_s
        self._free_at = float("-inf")

    def take(self, number: int, now: float) -> float:
        """Take bytes at a time; returns the seconds until they have all gone over the link."""
        self._free_at = max(self._free_at, now - self._burst_s) + number / self.bytes_per_s
        return max(0.0, self._free_at - now)
