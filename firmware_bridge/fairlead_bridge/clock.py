"""The device's clocks: when a fact was measured, and which boot this is."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from fairlead_bridge.reading import Missing
from fairlead_bridge.roots import Roots

_BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was measured: ``boottime_s`` (CLOCK_BOOTTIME) orders facts of one boot, ``wall_s``
    (CLOCK_REALTIME, Unix epoch) is for people and may jump.
    """

    boottime_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Clock:
    """The clocks of one boot.

    ``suspended_s`` is how long the device slept since its boot, by the difference of CLOCK_BOOTTIME and
    CLOCK_MONOTONIC. ``boottime_uncertainty_s`` is the clock's resolution; its drift is not known here.
    """

    at: Moment
    boot_id: str | Missing
    suspended_s: float
    boottime_uncertainty_s: float


def now() -> Moment:
    """Read both clocks."""
    return Moment(time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


class ClockSensor:
    """Reads the clocks and the boot id (RFC 4122 text, new at every boot)."""

    def __init__(self, roots: Roots | None = None) -> None:
        self._proc = (roots or Roots()).proc_tree

    def read(self, at: Moment | None = None) -> Clock:
        slept_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        resolution_s = time.clock_getres(time.CLOCK_BOOTTIME)
        return Clock(at or now(), self.boot_id(), max(0.0, slept_s), resolution_s)

    def boot_id(self) -> str | Missing:
        path = "sys/kernel/random/boot_id"
        text = self._proc.line(path)
        if isinstance(text, Missing) or _BOOT_ID.fullmatch(text):
            return text
        return Missing(self._proc.name(path), f"expected a boot id, found {text[:40]!r}", "garbled")
