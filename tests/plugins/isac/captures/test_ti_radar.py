"""TI radar cubes: sign, transforms, angles, axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead_isac.captures.detections import detections
from fairlead_isac.captures.problems import BadCapture
from fairlead_isac.captures.processing import process
from fairlead_isac.captures.ti_radar import ChirpProfile, read_cube
from fairlead_isac.errors import IsacError

from .recordings import real

PROFILE = ChirpProfile(77e9, 60e12, 4.4e6, 486e-6)


def cube(targets: list[tuple[float, float, float, float]]) -> np.ndarray:
    """Whole 16-bit numbers stored unsigned; targets (range cell, Doppler cell, angle in rad, amplitude)."""
    rng = np.random.default_rng(1)
    chirps, antennas, samples = np.ogrid[:64, :8, :64]
    values = 3 * (rng.standard_normal((64, 8, 64)) + 1j * rng.standard_normal((64, 8, 64))) + (40 - 25j)
    for row, column, angle, amplitude in targets:
        cycles = samples * row / 64 + chirps * column / 64 + antennas * np.sin(angle) / 2
        values += amplitude * np.exp(2j * np.pi * cycles)
    return np.round(values.real) % 65536 + 1j * (np.round(values.imag) % 65536)


def saved(tmp_path: Path, values: np.ndarray) -> Path:
    np.save(tmp_path / "cube.npy", values)
    return tmp_path / "cube.npy"


def test_unsigned_numbers_get_their_sign_back(tmp_path: Path) -> None:
    stored = cube([(20, 7, 0.3, 50.0)])
    assert stored.real.max() > 60000
    samples = read_cube(saved(tmp_path, stored)).samples
    assert np.abs(samples.real).max() < 200
    assert (samples.real % 65536 == stored.real).all() and (samples.imag % 65536 == stored.imag).all()


def test_targets_are_found_with_their_angle(tmp_path: Path) -> None:
    frame = read_cube(saved(tmp_path, cube([(20, 7, 0.3, 50.0), (41, -12, -0.6, 20.0), (33, 0, 0.0, 90.0)])))
    found = detections(frame.surface())
    assert [(round(each.row), round(each.column), each.moving) for each in found] == [
        (33, 0, False),
        (20, 7, True),
        (41, -12, True),
    ]
    assert frame.angles([(20, 32 + 7), (41, 32 - 12)]) == pytest.approx([0.3, -0.6], abs=0.02)
    moving = detections(frame.surface(moving_only=True))
    assert [(round(each.row), round(each.column)) for each in moving] == [(20, 7), (41, -12)]


def test_a_profile_gives_metres_and_velocities(tmp_path: Path) -> None:
    surface = read_cube(saved(tmp_path, cube([]))).surface(PROFILE)
    swept = 64 / 4.4e6 * 60e12
    assert surface.rows.step == pytest.approx(299792458 / 2 / swept)
    assert surface.columns.values[0] == pytest.approx(-299792458 / (77e9 + swept / 2) / (4 * 486e-6))
    assert detections(surface) == []


def test_a_recorded_frame_shows_people_who_walk_and_walls_that_stand() -> None:
    found = detections(read_cube(real("openradar", "doppler_example_1.npy")).surface())
    moving = [each for each in found if each.moving]
    assert len(moving) >= 4
    assert all(58 < each.row < 78 and 4 < abs(each.column) < 13 for each in moving)
    assert any(not each.moving and round(each.row) == 107 for each in found)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.ones((9, 9)), "dtype = float64; accepted: complex64 or complex128"),
        (np.ones(9, complex), r"shape = \[9\]; accepted: \[chirps, antennas, samples\]"),
        (np.full((9, 2, 9), 7e4 + 0j), "sample = 70000.0; accepted: 16-bit numbers"),
        (np.full((9, 2, 9), complex(np.nan)), "sample = nan"),
    ],
)
def test_what_is_no_cube_is_refused(tmp_path: Path, values: np.ndarray, match: str) -> None:
    with pytest.raises(BadCapture, match=match):
        read_cube(saved(tmp_path, values))


def test_detections_of_a_file_have_angles_where_there_are_antennas(tmp_path: Path) -> None:
    path = saved(tmp_path, cube([(20, 7, 0.3, 50.0)]))
    (found,) = process(path).detections
    assert found.angle_rad == pytest.approx(0.3, abs=0.02)
    (alone,) = process(saved(tmp_path, cube([(20, 7, 0.3, 50.0)])[:, 0]), moving_only=True, profile=PROFILE).detections
    assert alone.angle_rad is None


def test_damage_is_an_error_or_read_as_numbers(tmp_path: Path) -> None:
    whole, rng = saved(tmp_path, np.ones((9, 2, 9), complex)).read_bytes(), np.random.default_rng(3)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(0, 128, 2):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "bad.npy").write_bytes(damaged)
        try:
            read_cube(tmp_path / "bad.npy")
        except BadCapture as error:
            assert "bad.npy" in str(error)


def test_cut_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, cube([]))
    whole = path.read_bytes()
    for length in (5, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BadCapture, match=r"cube\.npy: .*; accepted: "):
            read_cube(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(BadCapture, match="array = "):
        read_cube(path)
    with pytest.raises(IsacError, match=r"profile\.interval_s = 0"):
        ChirpProfile(77e9, 60e12, 4.4e6, 0)
