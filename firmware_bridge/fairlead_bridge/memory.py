"""Main memory: how much there is, how much can be had, how hard it is to get."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.pressure import Pressure, read_pressure
from fairlead_bridge.reading import Missing
from fairlead_bridge.roots import Roots

_LINE = re.compile(r"^(\w+):\s+([0-9]{1,15})(?: kB)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """``available_bytes`` is the kernel's estimate of what can be had without swapping, not what is free."""

    at: Moment
    total_bytes: int | Missing
    available_bytes: int | Missing
    free_bytes: int | Missing
    swap_total_bytes: int | Missing
    swap_free_bytes: int | Missing
    pressure: Pressure | Missing


class MemorySensor:
    """Reads /proc/meminfo and /proc/pressure/memory."""

    def __init__(self, roots: Roots | None = None) -> None:
        self._proc = (roots or Roots()).proc_tree

    def read(self, at: Moment | None = None) -> Memory | Missing:
        text = self._proc.text("meminfo")
        if isinstance(text, Missing):
            return text
        sizes = {name: int(kibibytes) * 1024 for name, kibibytes in _LINE.findall(text)}

        def size(name: str) -> int | Missing:
            return sizes.get(name, Missing(f"{self._proc.name('meminfo')} {name}", "no such line", "garbled"))

        return Memory(
            at=at or now(),
            total_bytes=size("MemTotal"),
            available_bytes=size("MemAvailable"),
            free_bytes=size("MemFree"),
            swap_total_bytes=size("SwapTotal"),
            swap_free_bytes=size("SwapFree"),
            pressure=read_pressure(self._proc, "pressure/memory"),
        )
