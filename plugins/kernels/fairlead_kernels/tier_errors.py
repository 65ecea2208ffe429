"""What can go wrong with a region of memory in a tier; raised by native code and NumPy alike."""

from __future__ import annotations


class TierError(OSError):
    """A region cannot be had.

    Attributes:
        url: the region's.
    """

    def __init__(self, message: str, url: str = "") -> None:
        super().__init__(message)
        self.url = url


class TierLost(TierError):
    """What holds the region is gone, broke a promise, or failed to read it."""


class TierTimeout(TierError, TimeoutError):
    """What holds the region did not answer in time; this object reads no more."""
