"""What the whole device uses over a span of time, from the best of the sources that it has."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.energy import EnergyCounter, energy_between_joules, read_energy_counters, read_monitor_counters
from fairlead_bridge.power import PowerSensor
from fairlead_bridge.reading import Missing, is_known
from fairlead_bridge.roots import Roots

_WHAT = "energy used"
#: A battery's power between two looks at it is taken for their mean; not over more than this.
_BATTERY_SPAN_S = 60.0


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """One look at a source.

    ``source`` is ``rapl`` (packages and memory), ``hwmon`` (energy sensors) or ``battery`` (voltage times current,
    while it discharges: everything that the device does). The first two have counters, the last ``power_watts``.
    """

    at: Moment
    source: str
    counters: tuple[EnergyCounter, ...] = ()
    power_watts: float = 0.0


class DeviceEnergySensor:
    """Reads /sys/class/powercap, else /sys/class/hwmon, else the battery in /sys/class/power_supply.

    None of them tells processes apart: what else runs is in the figure.
    """

    def __init__(self, roots: Roots | None = None) -> None:
        roots = roots or Roots()
        self._sys, self._power = roots.sys_tree, PowerSensor(roots)

    def read(self, at: Moment | None = None) -> EnergyReading | Missing:
        """Look at the first source that may be read; where there is none, say what keeps it from being read."""
        at = at or now()
        packages = [counter for counter in read_energy_counters(self._sys, at) if _whole(counter)]
        sensors = list(read_monitor_counters(self._sys, at))
        for source, counters in (("rapl", packages), ("hwmon", sensors)):
            # A part that may not be read would make the sum too small without a word.
            if counters and all(is_known(counter.energy_joules) for counter in counters):
                return EnergyReading(at, source, tuple(counters))
        power = self._power.read(at)
        if is_known(power) and is_known(power.power_watts):
            return EnergyReading(at, "battery", power_watts=power.power_watts)
        return _reason([*packages, *sensors])


def device_energy_between_joules(before: EnergyReading, after: EnergyReading) -> float | Missing:
    """Energy that the device used between two readings, counters' wraps included; missing where it is not certain."""
    zones = [[counter.zone for counter in reading.counters] for reading in (before, after)]
    if before.source != after.source or zones[0] != zones[1]:
        return Missing(_WHAT, f"the source changed from {before.source} to {after.source}", "failed")
    if after.source == "battery":
        return _battery_joules(before, after)
    parts = [energy_between_joules(*pair) for pair in zip(before.counters, after.counters, strict=True)]
    unknown = next((part for part in parts if isinstance(part, Missing)), None)
    return sum(part for part in parts if is_known(part)) if unknown is None else unknown


def _battery_joules(before: EnergyReading, after: EnergyReading) -> float | Missing:
    elapsed_s = after.at.boottime_s - before.at.boottime_s
    if not 0 <= elapsed_s <= _BATTERY_SPAN_S:
        return Missing(_WHAT, f"{elapsed_s:.0f} s between two looks at the battery's power", "failed")
    return elapsed_s * (before.power_watts + after.power_watts) / 2


def _whole(counter: EnergyCounter) -> bool:
    """Cores are part of their package, and psys counts packages again."""
    return counter.domain.startswith("package") or counter.domain == "dram"


def _reason(counters: list[EnergyCounter]) -> Missing:
    reasons = [counter.energy_joules for counter in counters if isinstance(counter.energy_joules, Missing)]
    nothing = "no counter in /sys/class/powercap or /sys/class/hwmon, and no battery that discharges"
    return reasons[0] if reasons else Missing(_WHAT, nothing)
