"""An inventory, or any record of it, in forms that leave the process: JSON values and a plain table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, cast

from fairlead_bridge.reading import Missing

_UNITS = (("bits_per_s", "bit/s"), ("bytes_per_s", "B/s"), ("reads_per_s", "/s"), ("bytes", "B"), ("hz", "Hz"))
_SMALL_UNITS = (
    ("celsius", "°C"),
    ("kelvin", "K"),
    ("watts", "W"),
    ("joules", "J"),
    ("volts", "V"),
    ("dbm", "dBm"),
    ("_s", "s"),
)


def to_json(value: Any) -> Any:
    """Dictionaries, lists, strings and numbers; what is missing is ``{"missing": .., "why": .., "kind": ..}``."""
    if isinstance(value, Missing):
        return {"missing": value.what, "why": value.why, "kind": value.kind}
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in cast("list[Any]", value)]
    return value


def to_table(record: Any) -> str:
    """One line for each value, with its unit; missing values with the reason."""
    rows = list(_rows(record, ""))
    width = max((len(place) for place, _ in rows), default=0)
    return "\n".join(f"{place:<{width}}  {text}" for place, text in rows)


def _rows(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Missing):
        yield place, f"- ({value})"
    elif is_dataclass(value):
        for field in fields(value):
            if field.name != "at" or not place:
                yield from _rows(getattr(value, field.name), f"{place}.{field.name}".lstrip("."))
    elif isinstance(value, tuple | list) and any(is_dataclass(item) for item in cast("list[Any]", value)):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _rows(item, f"{place}.{index}")
    else:
        yield place, _text(value, place.rpartition(".")[2])


def _text(value: Any, name: str) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, tuple | list):
        return ", ".join(str(item) for item in cast("list[Any]", value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in cast("dict[Any, Any]", value).items())
    if isinstance(value, int | float):
        return _quantity(value, name)
    return str(value) or "none"


def _quantity(value: float, name: str) -> str:
    for ending, unit in _UNITS:
        if name.endswith(ending):
            return _scaled(float(value), unit)
    for ending, unit in _SMALL_UNITS:
        if name.endswith(ending):
            return f"{value:.6g} {unit}" if abs(value) < 1e6 else f"{value:.3f} {unit}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _scaled(value: float, unit: str) -> str:
    base, between = (1024.0, "i") if unit == "B" else (1000.0, "")
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 10 * base or prefix == "P":
            return f"{value:.4g} {prefix.upper() if between else prefix}{between if prefix else ''}{unit}"
        value /= base
    return f"{value:.4g} {unit}"
