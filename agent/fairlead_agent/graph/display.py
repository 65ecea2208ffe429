"""Quantities for people, by the unit that an attribute's name ends in."""

from __future__ import annotations

from fairlead_agent.graph.measured import Measured

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMAL = ("", "k", "M", "G", "T", "P")
_UNITS = {
    "_bytes_per_s": "B/s",
    "_bits_per_s": "bit/s",
    "flops_per_s": "flop/s",
    "_per_s": "/s",
    "_hz": "Hz",
    "_watts": "W",
    "_j_per_bit": "J/bit",
    "_j": "J",
    "_db": "dB",
    "_dbm": "dBm",
    "_celsius": "°C",
    "_s": "s",
}
_SCALED = ("B/s", "bit/s", "flop/s", "Hz")


def show(name: str, value: float) -> str:
    """``show("free_bytes", 536870912)`` is ``512 MiB``; a name without a unit gives the number."""
    if name.endswith("_bytes"):
        return _scaled(value, 1024.0, _BINARY)
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
    if unit in _SCALED:
        return _scaled(value, 1000.0, tuple(f"{prefix}{unit}" for prefix in _DECIMAL))
    if unit == "s" and 0 < abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.4g} {unit}".rstrip()


def plain_name(name: str) -> str:
    """``plain_name("kv_free_bytes")`` is ``kv free``: what is left where a number shows its unit itself."""
    endings = sorted(("_bytes", *_UNITS), key=len, reverse=True)
    ending = next((ending for ending in endings if name.endswith(ending) and name != ending), "")
    return name.removesuffix(ending).replace("_", " ")


def show_measured(name: str, measured: Measured) -> str:
    """As :func:`show`, with the uncertainty where there is one."""
    text = show(name, measured.value)
    return f"{text} ± {show(name, measured.uncertainty)}" if measured.uncertainty else text


def _scaled(value: float, base: float, units: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= base and power < len(units) - 1:
        value, power = value / base, power + 1
    return f"{value:.4g} {units[power]}"
