"""Energy counters of processors and memory (RAPL through powercap, which wrap around; hwmon's energy sensors)."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_bridge.clock import Moment
from fairlead_bridge.reading import Missing, convert, is_known, value_or
from fairlead_bridge.tree import Tree

_POWERCAP, _HWMON = "class/powercap", "class/hwmon"
_ZONE = r"[a-z][\w\-]{0,40}(:[0-9]{1,4}){1,3}"
_MONITOR_RANGE_JOULES = 2**63 / 1e6  # drivers widen their counters to 64 bits
_GRAPHICS = ("amdgpu", "i915", "xe", "nouveau")
_POWER_MAX_WATTS = 1000.0  # where a zone states no limit: no package draws more for long
_POWER_MARGIN = 2.0  # limits hold on the average over seconds; peaks go beyond them
_UPDATE_S = 0.05  # counters are updated every millisecond or so, the clock is read a little apart from them


@dataclass(frozen=True, slots=True)
class EnergyCounter:
    """A counter as it stands: ``energy_joules`` since some time in the past, below ``range_joules``.

    ``zone`` is its directory (``intel-rapl:0:1``), ``domain`` what it measures (package-0, core, dram, psys).
    Only administrators may read the energy since CVE-2020-8694. ``power_max_watts`` is the largest limit set.
    """

    at: Moment
    zone: str
    domain: str
    energy_joules: float | Missing
    range_joules: float | Missing
    power_max_watts: float | Missing


def read_energy_counters(sys: Tree, at: Moment) -> tuple[EnergyCounter, ...]:
    """All zones with a counter, those of other interfaces to the same hardware (mmio) left out."""
    zones = sys.matches(_POWERCAP, _ZONE)
    return tuple(_counter(sys, zone, at) for zone in zones if _counts(sys, zone))


def read_monitor_counters(sys: Tree, at: Moment) -> tuple[EnergyCounter, ...]:
    """The energy sensors of hardware monitors, those of graphics processors left out.

    Where sensors are labelled as sockets (amd_energy), the others are parts of those and left out too.
    """
    found = [
        _sensor(sys, f"{_HWMON}/{monitor}", name.removesuffix("_input"), at)
        for monitor in sys.matches(_HWMON, r"hwmon[0-9]{1,4}")
        if sys.line(f"{_HWMON}/{monitor}/name") not in _GRAPHICS
        for name in sys.matches(f"{_HWMON}/{monitor}", r"energy[0-9]{1,3}_input")
    ]
    sockets = tuple(counter for counter in found if counter.domain.startswith("Esocket"))
    return sockets or tuple(found)


def energy_between_joules(before: EnergyCounter, after: EnergyCounter) -> float | Missing:
    """Energy used between two readings of one counter, over at most one wrap.

    Missing where the counters are not the same, so much time passed that a second wrap cannot be ruled out
    (at full power a counter of 32 bits wraps within minutes), or the counter was reset, as some are by a
    suspend: the difference is then more than the hardware can draw.
    """
    what = f"energy of {after.zone}"
    start, end, limit = before.energy_joules, after.energy_joules, after.range_joules
    if isinstance(start, Missing):
        return start
    if isinstance(end, Missing):
        return end
    if isinstance(limit, Missing):
        return limit
    elapsed_s = after.at.boottime_s - before.at.boottime_s
    if before.zone != after.zone or elapsed_s < 0:
        return Missing(what, "the earlier reading is of another counter or a later time", "failed")
    power_max_watts = _POWER_MARGIN * value_or(after.power_max_watts, _POWER_MAX_WATTS)
    if elapsed_s * power_max_watts >= limit:
        return Missing(what, f"{elapsed_s:.0f} s passed: it may have wrapped more than once", "failed")
    used = end - start if end >= start else end + limit - start
    if not 0 <= used <= (elapsed_s + _UPDATE_S) * power_max_watts:
        return Missing(what, f"{used:.0f} J in {elapsed_s:.3f} s: it was reset or is not credible", "garbled")
    return used


class EnergyMeter:
    """Adds up one counter over its wraps; to be updated more often than the counter wraps.

    ``total_joules`` never falls. ``gaps`` counts the intervals whose energy is not known and not in it.
    """

    def __init__(self) -> None:
        self.total_joules = 0.0
        self.gaps = 0
        self._last: EnergyCounter | None = None

    def update(self, counter: EnergyCounter) -> float | Missing:
        """Take a new reading; returns the energy since the last one (0 for the first)."""
        last, self._last = self._last, counter
        if last is None:
            return 0.0
        used = energy_between_joules(last, counter)
        if isinstance(used, Missing):
            self.gaps += 1
        else:
            self.total_joules += used
        return used


def _counts(sys: Tree, zone: str) -> bool:
    return not zone.startswith("intel-rapl-mmio") and sys.holds(f"{_POWERCAP}/{zone}/energy_uj")


def _counter(sys: Tree, zone: str, at: Moment) -> EnergyCounter:
    path = f"{_POWERCAP}/{zone}"
    domain = sys.line(f"{path}/name")
    return EnergyCounter(
        at=at,
        zone=zone,
        domain=domain if isinstance(domain, str) else "unknown",
        energy_joules=_micro(sys.integer(f"{path}/energy_uj")),
        range_joules=_micro(sys.integer(f"{path}/max_energy_range_uj", 1)),
        power_max_watts=_power_max_watts(sys, path),
    )


def _sensor(sys: Tree, monitor: str, sensor: str, at: Moment) -> EnergyCounter:
    label = sys.line(f"{monitor}/{sensor}_label")
    return EnergyCounter(
        at=at,
        zone=f"{monitor.rpartition('/')[2]}/{sensor}",
        domain=label if isinstance(label, str) else "unknown",
        energy_joules=_micro(sys.integer(f"{monitor}/{sensor}_input")),
        range_joules=_MONITOR_RANGE_JOULES,
        power_max_watts=Missing(sys.name(monitor), "no power limit in it"),
    )


def _power_max_watts(sys: Tree, path: str) -> float | Missing:
    names = sys.matches(path, r"constraint_[0-9]{1,2}_(max_power|power_limit)_uw")
    limits = [_micro(sys.integer(f"{path}/{name}", 1, 10**11)) for name in names]
    known = [limit for limit in limits if is_known(limit)]
    return max(known) if known else Missing(sys.name(path), "no power limit in it")


def _micro(value: int | Missing) -> float | Missing:
    return convert(value, lambda number: number / 1e6)
