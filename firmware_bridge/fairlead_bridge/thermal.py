"""Temperatures, and how far they are from where the device throttles or stops."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.reading import Missing, convert, is_known, value_or
from fairlead_bridge.roots import Roots
from fairlead_bridge.tree import Tree

_THERMAL, _HWMON = "class/thermal", "class/hwmon"
_LOW_MILLICELSIUS, _HIGH_MILLICELSIUS = -100_000, 250_000
_THROTTLING = ("passive", "hot", "max")
_STOPPING = ("critical", "crit")


@dataclass(frozen=True, slots=True)
class TripPoint:
    """A temperature at which the kernel or firmware acts: active, passive, hot, critical (hwmon: max, crit)."""

    kind: str
    temperature_celsius: float


@dataclass(frozen=True, slots=True)
class ThermalZone:
    """One sensor. ``headroom_kelvin`` is what is left until it throttles (or, with no such point, stops)."""

    name: str
    kind: str
    temperature_celsius: float | Missing
    trips: tuple[TripPoint, ...]
    headroom_kelvin: float | Missing


@dataclass(frozen=True, slots=True)
class CoolingDevice:
    """A fan, or a limit on a processor's speed: ``state`` 0 is no cooling, ``state_max`` all it can."""

    kind: str
    state: int
    state_max: int


@dataclass(frozen=True, slots=True)
class Thermal:
    """All sensors. ``headroom_kelvin`` is the least of theirs, ``temperature_celsius`` the hottest."""

    at: Moment
    zones: tuple[ThermalZone, ...]
    cooling: tuple[CoolingDevice, ...]
    temperature_celsius: float | Missing
    headroom_kelvin: float | Missing


class ThermalSensor:
    """Reads thermal zones and, for servers whose processors have none, hardware monitors."""

    def __init__(self, roots: Roots | None = None) -> None:
        self._sys = (roots or Roots()).sys_tree

    def read(self, at: Moment | None = None) -> Thermal | Missing:
        zones = (*self._zones(), *self._monitors())
        if not zones:
            return Missing("temperatures", "no thermal zone and no hardware monitor")
        temperatures = [zone.temperature_celsius for zone in zones if is_known(zone.temperature_celsius)]
        headrooms = [zone.headroom_kelvin for zone in zones if is_known(zone.headroom_kelvin)]
        return Thermal(
            at=at or now(),
            zones=zones,
            cooling=self._cooling(),
            temperature_celsius=max(temperatures, default=Missing("temperature", "no sensor answers")),
            headroom_kelvin=min(headrooms, default=Missing("headroom", "no sensor has a trip point above it")),
        )

    def _zones(self) -> tuple[ThermalZone, ...]:
        names = self._sys.matches(_THERMAL, r"thermal_zone[0-9]{1,4}")
        return tuple(self._zone(name) for name in names)

    def _zone(self, name: str) -> ThermalZone:
        path = f"{_THERMAL}/{name}"
        numbers = [entry.split("_")[2] for entry in self._sys.matches(path, r"trip_point_[0-9]{1,3}_temp")]
        trips = [
            TripPoint(str(value_or(self._sys.line(f"{path}/trip_point_{number}_type"), "unknown")), temperature)
            for number in numbers
            if is_known(temperature := _celsius(self._sys, f"{path}/trip_point_{number}_temp"))
        ]
        kind = str(value_or(self._sys.line(f"{path}/type"), "unknown"))
        return _assess(name, kind, _celsius(self._sys, f"{path}/temp"), trips)

    def _monitors(self) -> tuple[ThermalZone, ...]:
        zones: list[ThermalZone] = []
        for monitor in self._sys.matches(_HWMON, r"hwmon[0-9]{1,4}"):
            # A thermal zone shows itself as a monitor, too.
            if str(self._sys.target(f"{_HWMON}/{monitor}/device")).startswith("thermal_zone"):
                continue
            chip = str(value_or(self._sys.line(f"{_HWMON}/{monitor}/name"), "unknown"))
            inputs = self._sys.matches(f"{_HWMON}/{monitor}", r"temp[0-9]{1,3}_input")
            zones.extend(self._monitor(monitor, chip, entry.removesuffix("_input")) for entry in inputs)
        return tuple(zones)

    def _monitor(self, monitor: str, chip: str, channel: str) -> ThermalZone:
        path = f"{_HWMON}/{monitor}/{channel}"
        label = value_or(self._sys.line(f"{path}_label"), channel)
        trips = [
            TripPoint(kind, temperature)
            for kind in ("max", "crit")
            if is_known(temperature := _celsius(self._sys, f"{path}_{kind}"))
        ]
        return _assess(f"{monitor}/{channel}", f"{chip} {label}", _celsius(self._sys, f"{path}_input"), trips)

    def _cooling(self) -> tuple[CoolingDevice, ...]:
        devices: list[CoolingDevice] = []
        for name in self._sys.matches(_THERMAL, r"cooling_device[0-9]{1,4}"):
            path = f"{_THERMAL}/{name}"
            state, most = self._sys.integer(f"{path}/cur_state"), self._sys.integer(f"{path}/max_state")
            if is_known(state) and is_known(most):
                devices.append(CoolingDevice(str(value_or(self._sys.line(f"{path}/type"), name)), state, most))
        return tuple(devices)


def _celsius(sys: Tree, path: str) -> float | Missing:
    # A sensor that is switched off shows absurd values such as -274000; no device computes at those.
    millicelsius = sys.integer(path, _LOW_MILLICELSIUS, _HIGH_MILLICELSIUS)
    return convert(millicelsius, lambda value: value / 1000)


def _assess(name: str, kind: str, temperature: float | Missing, trips: list[TripPoint]) -> ThermalZone:
    return ThermalZone(name, kind, temperature, tuple(trips), _headroom_kelvin(name, temperature, trips))


def _headroom_kelvin(name: str, temperature: float | Missing, trips: list[TripPoint]) -> float | Missing:
    if isinstance(temperature, Missing):
        return temperature
    for kinds in (_THROTTLING, _STOPPING):
        # Trip points at or below zero are how firmware says that there is none.
        limits = [trip.temperature_celsius for trip in trips if trip.kind in kinds and trip.temperature_celsius > 0]
        if limits:
            return min(limits) - temperature
    return Missing(f"headroom of {name}", "it has no passive, hot or critical trip point")
