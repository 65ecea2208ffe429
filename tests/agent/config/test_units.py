"""Quantities as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fairlead_agent.config.units import BitRate, ByteRate, Duration, Size


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Size, "512 MiB", 512 << 20),
        (Size, "1.5 GiB", 3 << 29),
        (Size, "2 kB", 2000),
        (Size, "7", 7),
        (Size, 7, 7),
        (Size, "0 B", 0),
        (Duration, "3 s", 3.0),
        (Duration, "250 ms", 0.25),
        (Duration, "40us", 40e-6),
        (Duration, "2 min", 120.0),
        (Duration, "1.5e1 s", 15.0),
        (Duration, 3, 3),
        (BitRate, "100 Mbit/s", 1e8),
        (ByteRate, "20 GiB/s", 20 * 2.0**30),
    ],
)
def test_units(kind: object, text: object, value: float) -> None:
    assert TypeAdapter(kind).validate_python(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Size, "512 Mib"),
        (Size, "512 mb"),
        (Size, "-1 B"),
        (Size, "1 s"),
        (Size, ""),
        (Size, None),
        (Size, [1]),
        (Size, True),
        (Size, "1e400 TiB"),
        (Duration, "3 seconds"),
        (Duration, "3 s 4"),
        (Duration, float("nan")),
        (Duration, float("inf")),
        (BitRate, "100 MB/s"),
        (ByteRate, "100 Mbit/s"),
    ],
)
def test_what_is_no_quantity_is_refused(kind: object, text: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)


@given(st.integers(0, 10**6), st.sampled_from(["B", "KiB", "MiB", "GiB", "kB", "MB", "GB"]))
def test_whole_sizes_are_exact(count: int, unit: str) -> None:
    factor = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}[unit]
    assert TypeAdapter(Size).validate_python(f"{count} {unit}") == count * factor
