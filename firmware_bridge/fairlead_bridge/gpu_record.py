"""What is known of one graphics processor, whichever interface told it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fairlead_bridge.reading import Missing


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics processor.

    ``compute_capability`` is CUDA's (``9.0``). ``shared_memory``: it has none of its own and uses the main
    memory; its total is then missing. ``renders`` is False for a mere display controller.
    ``bus_address`` is the PCI address in sysfs form, or empty.
    """

    name: str
    vendor: str
    driver: str | Missing
    source: Literal["nvml", "drm", "kgsl", "mali"]
    bus_address: str
    uuid: str | Missing
    renders: bool
    shared_memory: bool | Missing
    memory_total_bytes: int | Missing
    memory_used_bytes: int | Missing
    utilisation_fraction: float | Missing
    power_watts: float | Missing
    power_limit_watts: float | Missing
    temperature_celsius: float | Missing
    frequency_max_hz: int | Missing
    compute_capability: str | Missing
    numa_node: int | Missing
