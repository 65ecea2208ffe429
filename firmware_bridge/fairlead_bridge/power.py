"""Where the device's energy comes from: batteries, mains, and the counters of what its processors use."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.energy import EnergyCounter, read_energy_counters
from fairlead_bridge.reading import Missing, convert, first_known, is_known
from fairlead_bridge.roots import Roots
from fairlead_bridge.tree import Tree

_SUPPLY = "class/power_supply"
_JOULES_PER_MICROWATTHOUR = 3.6e-3
# A battery's "capacity" is a whole percent.
CHARGE_UNCERTAINTY_FRACTION = 0.005


@dataclass(frozen=True, slots=True)
class PowerSupply:
    """One battery or source. ``power_watts`` is a magnitude: ``status`` says which way it flows.

    A ``peripheral`` supply (a mouse's battery) feeds something else than this device.
    """

    name: str
    kind: str
    peripheral: bool
    online: bool | Missing
    status: str | Missing
    charge_fraction: float | Missing
    charge_uncertainty_fraction: float
    energy_now_joules: float | Missing
    energy_full_joules: float | Missing
    power_watts: float | Missing
    voltage_volts: float | Missing
    temperature_celsius: float | Missing
    health: str | Missing
    cycles: int | Missing


@dataclass(frozen=True, slots=True)
class Power:
    """All supplies and counters. A device that has no battery is not ``on_battery``.

    ``battery_fraction`` is the charge of the emptiest battery, ``power_watts`` what the batteries give now.
    """

    at: Moment
    supplies: tuple[PowerSupply, ...]
    on_battery: bool | Missing
    battery_fraction: float | Missing
    power_watts: float | Missing
    counters: tuple[EnergyCounter, ...]


class PowerSensor:
    """Reads /sys/class/power_supply and /sys/class/powercap (RAPL)."""

    def __init__(self, roots: Roots | None = None) -> None:
        self._sys = (roots or Roots()).sys_tree

    def read(self, at: Moment | None = None) -> Power | Missing:
        at = at or now()
        names = self._sys.entries(_SUPPLY)
        supplies = () if isinstance(names, Missing) else tuple(_supply(self._sys, name) for name in names)
        counters = read_energy_counters(self._sys, at)
        if not supplies and not counters:
            return names if isinstance(names, Missing) else Missing("power", "no supply and no energy counter")
        batteries = [each for each in supplies if each.kind == "Battery" and not each.peripheral]
        return Power(
            at=at,
            supplies=supplies,
            on_battery=_on_battery(batteries, supplies),
            battery_fraction=_least_charge(batteries),
            power_watts=_drawn_watts(batteries),
            counters=counters,
        )


def _supply(sys: Tree, name: str) -> PowerSupply:
    path = f"{_SUPPLY}/{name}"
    kind = sys.line(f"{path}/type")
    voltage = _scaled(sys, f"{path}/voltage_now", 1e-6)
    return PowerSupply(
        name=name,
        kind=kind if isinstance(kind, str) else "unknown",
        peripheral=sys.line(f"{path}/scope") == "Device",
        online=convert(sys.integer(f"{path}/online", 0, 2), lambda value: value > 0),
        status=sys.line(f"{path}/status"),
        charge_fraction=convert(sys.integer(f"{path}/capacity", 0, 100), lambda percent: percent / 100),
        charge_uncertainty_fraction=CHARGE_UNCERTAINTY_FRACTION,
        energy_now_joules=_energy_joules(sys, path, "now", voltage),
        energy_full_joules=_energy_joules(sys, path, "full", voltage),
        power_watts=_power_watts(sys, path, voltage),
        voltage_volts=voltage,
        temperature_celsius=convert(sys.integer(f"{path}/temp", -1000, 2500), lambda tenths: tenths / 10),
        health=sys.line(f"{path}/health"),
        cycles=sys.integer(f"{path}/cycle_count", 0, 10**6),
    )


def _scaled(sys: Tree, path: str, factor: float) -> float | Missing:
    return convert(sys.integer(path, -(10**12), 10**12), lambda value: abs(value) * factor)


def _energy_joules(sys: Tree, path: str, name: str, voltage: float | Missing) -> float | Missing:
    """Batteries count in microwatt-hours, or in microampere-hours: then at their nominal or present voltage."""
    volts = first_known(lambda: _scaled(sys, f"{path}/voltage_min_design", 1e-6), lambda: voltage)
    return first_known(
        lambda: _scaled(sys, f"{path}/energy_{name}", _JOULES_PER_MICROWATTHOUR),
        lambda: _product(_scaled(sys, f"{path}/charge_{name}", _JOULES_PER_MICROWATTHOUR), volts),
    )


def _power_watts(sys: Tree, path: str, voltage: float | Missing) -> float | Missing:
    return first_known(
        lambda: _scaled(sys, f"{path}/power_now", 1e-6),
        lambda: _product(_scaled(sys, f"{path}/current_now", 1e-6), voltage),
    )


def _product(left: float | Missing, right: float | Missing) -> float | Missing:
    if isinstance(left, Missing):
        return left
    return convert(right, lambda value: left * value)


def _on_battery(batteries: list[PowerSupply], supplies: tuple[PowerSupply, ...]) -> bool | Missing:
    if not batteries:
        return False
    if any(battery.status == "Discharging" for battery in batteries):
        return True
    if any(is_known(battery.status) for battery in batteries):
        return False
    sources = [each.online for each in supplies if each.kind != "Battery" and is_known(each.online)]
    return not any(sources) if sources else batteries[0].status if isinstance(batteries[0].status, Missing) else False


def _least_charge(batteries: list[PowerSupply]) -> float | Missing:
    charges = [battery.charge_fraction for battery in batteries]
    known = [charge for charge in charges if is_known(charge)]
    unknown = [charge for charge in charges if isinstance(charge, Missing)]
    return min(known) if known else unknown[0] if unknown else Missing("battery", "the device has none")


def _drawn_watts(batteries: list[PowerSupply]) -> float | Missing:
    drawn = [battery.power_watts for battery in batteries if battery.status == "Discharging"]
    known = [watts for watts in drawn if is_known(watts)]
    return sum(known) if known else Missing("power drawn", "no battery that discharges says it")
