"""The clocks of the I/O shell. Nothing below the daemon reads a clock of its own."""

from __future__ import annotations

import time
import uuid


def boottime() -> float:
    """CLOCK_BOOTTIME in seconds: it runs on while the device sleeps, so a lease cannot outlive a nap."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def unix_time() -> float:
    """Unix seconds, for people and for message expiry."""
    return time.time()


def new_id() -> str:
    """A fresh random identifier."""
    return uuid.uuid4().hex
