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


def _reader(kind: str, units: dict[str, float] | dict[str, int], example: str) -> Any:
    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = _QUANTITY.fullmatch(value)
        if found is None or found[2] not in units:
            accepted = ", ".join(unit for unit in units if unit)
            raise ValueError(f"{kind} is a number with a unit such as {example!r}; the units are {accepted}")
        return float(found[1]) * units[found[2]]

    return read


def _integer(reader: Any) -> Any:
    def read(value: Any) -> Any:
        number = reader(value)
        return round(number) if isinstance(number, float) else number

    return read


def _schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}], "examples": [example]})


Size = Annotated[int, BeforeValidator(_integer(_reader("a size", _BYTES, "512 MiB"))), _schema("512 MiB")]
Duration = Annotated[float, BeforeValidator(_reader("a duration", _SECONDS, "3 s")), _schema("3 s")]
BitRate = Annotated[float, BeforeValidator(_reader("a bit rate", _BIT_RATES, "100 Mbit/s")), _schema("100 Mbit/s")]
ByteRate = Annotated[float, BeforeValidator(_reader("a byte rate", _BYTE_RATES, "20 GiB/s")), _schema("20 GiB/s")]
