"""Quantities as people write them: ``512 MiB``, ``3 s``, ``100 Mbit/s``. In memory they are numbers in SI units."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z/]*)\s*")

_DECIMAL = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES = _DECIMAL | {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0}
_BIT_RATES = {"": 1.0, "bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}
_BYTE_RATES = {"": 1.0} | {f"{unit}/s": float(factor) for unit, factor in _BYTES.items() if unit}

#: An exabyte, thirty years: what is beyond is a slip, and would overflow further down.
_MOST = 1e18


def _reader(kind: str, units: dict[str, float] | dict[str, int], example: str) -> Any:
    accepted = ", ".join(unit for unit in units if unit)
    message = f"{kind} is a number with a unit such as {example!r}; the units are {accepted}"

    def read(value: Any) -> Any:
        found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
        if found is not None and found[2] in units:
            value = float(found[1]) * units[found[2]]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(message)
        if not 0 <= value <= _MOST:
            raise ValueError(f"{kind} is between 0 and {_MOST:g}")
        return value

    return read


def _integer(reader: Any) -> Any:
    def read(value: Any) -> Any:
        return round(reader(value))

    return read


def _schema(kind: str, example: str) -> Any:
    written = {"type": "string", "pattern": "^" + _QUANTITY.pattern + "$"}
    number = {"type": "number", "minimum": 0, "maximum": _MOST}
    return WithJsonSchema({"anyOf": [number, written], "examples": [example], "title": kind})


Size = Annotated[int, BeforeValidator(_integer(_reader("a size", _BYTES, "512 MiB"))), _schema("size", "512 MiB")]
Duration = Annotated[float, BeforeValidator(_reader("a duration", _SECONDS, "3 s")), _schema("duration", "3 s")]
BitRate = Annotated[
    float, BeforeValidator(_reader("a bit rate", _BIT_RATES, "100 Mbit/s")), _schema("bit rate", "100 Mbit/s")
]
ByteRate = Annotated[
    float, BeforeValidator(_reader("a byte rate", _BYTE_RATES, "20 GiB/s")), _schema("byte rate", "20 GiB/s")
]
