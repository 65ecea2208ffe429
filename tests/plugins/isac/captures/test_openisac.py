"""OpenISAC maps: axes, detections in made and in recorded ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fairlead_isac.captures.detections import Search, detections, doppler_lines
from fairlead_isac.captures.openisac import Recording, read_openisac
from fairlead_isac.captures.problems import BadCapture
from fairlead_isac.errors import IsacError

from .recordings import map_levels, matlab_bytes, real

MADE = Recording(symbols=60)


def made(tmp_path: Path, targets: list[tuple[float, float, float]]) -> Path:
    path = tmp_path / "made.mat"
    path.write_bytes(matlab_bytes("rd_map", map_levels(targets).astype(np.float32)))
    return path


def test_targets_are_found_where_they_are(tmp_path: Path) -> None:
    surface = read_openisac(made(tmp_path, [(83, 200, 3e4), (152, 90, 3e3)]), MADE)
    assert surface.padding == (10, 5)
    found = detections(surface)
    assert len(found) == 2
    for each, (row, column) in zip(found, [(83, 200), (152, 90)], strict=True):
        assert each.row == pytest.approx(row * 2e-9 * 299792458 / 2, abs=0.3)
        assert each.column == pytest.approx((column - 150) * MADE.rate_hz / 300, abs=4)
        assert each.moving
    assert found[0].snr_db == pytest.approx(10 * np.log10(3e4) - 2.7, abs=4)


def test_noise_holds_no_targets(tmp_path: Path) -> None:
    assert detections(read_openisac(made(tmp_path, []), MADE)) == []


def test_a_ridge_without_shift_does_not_hide_what_moves(tmp_path: Path) -> None:
    clutter = [(row, 150.0, 1e6 * 0.8**index) for index, row in enumerate(range(5, 390, 9))]
    found = detections(read_openisac(made(tmp_path, [*clutter, (120, 185, 3e4)]), MADE))
    moving = [each for each in found if each.moving]
    assert [round(each.row) for each in moving] == [36]
    assert len(found) < 8


def test_a_carrier_tells_velocities_and_two_stations_a_way(tmp_path: Path) -> None:
    path = made(tmp_path, [])
    known = read_openisac(path, dataclasses.replace(MADE, carrier_hz=2.4e9))
    assert known.columns.unit == "m/s"
    assert known.columns.values[-1] == pytest.approx(MADE.rate_hz * (149 / 300) * 0.1249135 / 2, rel=1e-6)
    assert read_openisac(path, dataclasses.replace(MADE, bistatic=True)).rows.step == pytest.approx(0.5996, rel=1e-3)
    assert read_openisac(path, MADE).rows.step == pytest.approx(0.2998, rel=1e-3)


def test_recorded_maps_show_what_moves_with_and_without_the_filter() -> None:
    filtered = detections(read_openisac(real("openisac", "monostatic_rd_with_mti.mat")))
    assert [(round(each.row), round(each.column)) for each in filtered] == [(20, 12), (39, -55)]
    whole = detections(read_openisac(real("openisac", "monostatic_rd_without_mti.mat")))
    assert not whole[0].moving and whole[0].level_db > 20
    assert {(round(each.row), round(each.column)) for each in whole if each.moving} == {(7, -67), (43, 51)}


def test_the_recorded_drone_stands_out() -> None:
    surface = read_openisac(real("openisac", "bistatic_rd_uav.mat"))
    strongest = detections(surface)[0]
    assert strongest.moving and strongest.snr_db > 25
    assert (strongest.row, strongest.column) == pytest.approx((14.8, -33), abs=1)
    assert surface.rows.label == "Bistatic excess range"


def test_lines_that_last_are_found_in_a_micro_doppler_map(tmp_path: Path) -> None:
    levels = 10 * np.log10(np.random.default_rng(1).exponential(1, (255, 80)))
    path = tmp_path / "made.mat"
    path.write_bytes(matlab_bytes("md_map", levels))
    assert doppler_lines(read_openisac(path)) == []
    levels[143] += 13
    levels[100, ::2] += 14
    path.write_bytes(matlab_bytes("md_map", levels))
    surface = read_openisac(path)
    found = doppler_lines(surface)
    assert [surface.rows.cell(each.row) for each in found] == [143, 100]
    assert found[0].snr_db == pytest.approx(13, abs=1.5)
    with pytest.raises(IsacError, match="accepted: micro-Doppler"):
        doppler_lines(read_openisac(made(tmp_path, []), MADE))


def test_the_recorded_rotors_make_lines() -> None:
    found = doppler_lines(read_openisac(real("openisac", "monostatic_md_uav.mat")))
    assert sorted(round(each.row) for each in found) == [-135, -71, 75]


@pytest.mark.parametrize(
    ("name", "values", "match"),
    [
        ("other", np.ones((9, 9)), "variables = other; accepted: rd_map or md_map"),
        ("rd_map", np.ones((9, 2)), r"rd_map = float64 \[9, 2\]"),
        ("md_map", np.full((9, 9), np.nan), r"md_map\[0, 0\] = nan"),
        ("rd_map", np.full((9, 9), 1e5), r"rd_map\[0, 0\] = 100000.0; accepted: decibels"),
    ],
)
def test_what_is_no_map_is_refused(tmp_path: Path, name: str, values: np.ndarray, match: str) -> None:
    path = tmp_path / "made.mat"
    path.write_bytes(matlab_bytes(name, values))
    with pytest.raises(BadCapture, match=match):
        read_openisac(path)


def test_maps_too_small_and_of_other_kinds_hold_no_targets(tmp_path: Path) -> None:
    path = tmp_path / "made.mat"
    path.write_bytes(matlab_bytes("rd_map", np.zeros((30, 300))))
    with pytest.raises(IsacError, match="map of 3 resolution cells along axis 0"):
        detections(read_openisac(path, MADE))
    path.write_bytes(matlab_bytes("md_map", np.zeros((30, 300))))
    with pytest.raises(IsacError, match="kind = 'micro-Doppler'; accepted: range-Doppler"):
        detections(read_openisac(path, MADE), Search())
    with pytest.raises(IsacError, match=r"recording\.stride = 0"):
        Recording(stride=0)
