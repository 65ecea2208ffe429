"""What a grid resolves."""

from __future__ import annotations

import dataclasses

import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics.numerology import Numerology


def test_resolution_and_limits_are_the_textbooks() -> None:
    grid = Numerology(3.5e9, 30e3, 3276, 28, 2.34375e-6)
    assert grid.bandwidth_hz == pytest.approx(98.28e6)
    assert grid.range_resolution_m == pytest.approx(1.5252, rel=1e-4)
    assert grid.slot_s == pytest.approx(0.5e-3, rel=2e-3)
    assert grid.frame_s == pytest.approx(1e-3, rel=2e-3)
    assert grid.unambiguous_range_m == pytest.approx(4996.5, rel=1e-4)
    assert grid.prefix_range_m == pytest.approx(351.3, rel=1e-3)
    assert grid.velocity_resolution_m_per_s * 28 / 2 == pytest.approx(grid.unambiguous_velocity_m_per_s)


@pytest.mark.parametrize(("carrier", "seconds"), [(3.5e9, 86e-3), (28e9, 10.7e-3)])
def test_half_a_metre_a_second_takes_as_long_as_is_known(carrier: float, seconds: float) -> None:
    grid = Numerology.new_radio(carrier, 1, 1)
    long = dataclasses.replace(grid, symbols=round(seconds / grid.symbol_s))
    assert long.velocity_resolution_m_per_s == pytest.approx(0.5, rel=0.01)


def test_new_radio_slots_halve_with_each_numerology() -> None:
    for mu in range(5):
        assert Numerology.new_radio(28e9, mu, 100).slot_s == pytest.approx(1e-3 / 2**mu, rel=2e-3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("carrier_hz", 0.0),
        ("carrier_hz", float("nan")),
        ("subcarrier_spacing_hz", -1.0),
        ("subcarriers", 0),
        ("symbols", 1.5),
        ("symbols", True),
        ("cyclic_prefix_s", float("inf")),
    ],
)
def test_a_bad_field_is_named(field: str, value: float) -> None:
    with pytest.raises(IsacError, match=f"numerology.{field} = "):
        dataclasses.replace(Numerology.new_radio(28e9, 3, 10), **{field: value})
