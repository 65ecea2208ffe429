"""The lease as its holder sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BootClock = Callable[[], float]


def boottime_s() -> float:
    """CLOCK_BOOTTIME: goes on while the device sleeps, is the same in every process, and is never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class StaleEpochError(ValueError):
    """An epoch lower than the one held, or an extension of an epoch that is not held."""


class HeldLease:
    """Epoch and expiry, read by the data thread at every send and written by the control thread.

    Both live in one tuple that is replaced as a whole: a reader never sees the epoch of one lease with the expiry of
    another, and takes no lock.
    """

    def __init__(self, clock: BootClock = boottime_s) -> None:
        self._clock = clock
        self._writing = threading.Lock()
        self._held: tuple[int, float] = (0, 0.0)

    @property
    def epoch(self) -> int:
        """The epoch held now or last; 0: none yet."""
        return self._held[0]

    @property
    def expires_boottime_s(self) -> float:
        return self._held[1]

    def remaining_s(self) -> float:
        """Seconds until expiry; negative after it."""
        return self._held[1] - self._clock()

    def live_epoch(self) -> int:
        """The epoch if its lease is live, else 0."""
        epoch, expires_boottime_s = self._held
        return epoch if self._clock() < expires_boottime_s else 0

    def activate(self, epoch: int, expires_boottime_s: float) -> None:
        """Hold ``epoch``, which may be the held one again.

        Raises:
            StaleEpochError: a higher epoch was held already.
        """
        with self._writing:
            held, expires = self._held
            if epoch < max(held, 1):
                raise StaleEpochError(f"epoch {epoch} is refused: this worker has held epoch {held}")
            later = max(expires, expires_boottime_s) if epoch == held else expires_boottime_s
            self._held = (epoch, later)

    def extend(self, epoch: int, expires_boottime_s: float) -> None:
        """Move the expiry of the held epoch; it never moves back.

        Raises:
            StaleEpochError: another epoch is held.
        """
        with self._writing:
            held, expires = self._held
            if epoch != held or epoch == 0:
                raise StaleEpochError(f"epoch {epoch} cannot be extended: this worker holds epoch {held}")
            self._held = (held, max(expires, expires_boottime_s))
