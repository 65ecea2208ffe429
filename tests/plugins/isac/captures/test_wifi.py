"""Wi-Fi channel state: bits, antennas, times, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead_isac.captures.problems import BadCapture
from fairlead_isac.captures.wifi import read_intel

from .recordings import csi_record, real


def channel(seed: int, receive: int = 3, send: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = rng.integers(-128, 128, (30, receive, send, 2))
    return parts[..., 0] + 1j * parts[..., 1]


def test_packets_come_back_with_their_antennas_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    plain, turned = channel(1), channel(2)
    other_code = b"\x00\x05\xc1abcd"
    few = csi_record(channel(3, 1, 1), 4_294_967_000)
    last = csi_record(turned, 1_000_704, 0b001001)  # sockets 1, 2, 0; the clock has wrapped around
    path.write_bytes(csi_record(plain, 4_294_968_000 - 1000) + other_code + few + last)
    found = read_intel(path)
    assert found.channels.shape == (2, 30, 3, 2) and found.skipped == 1
    assert (found.channels[0] == plain).all()
    assert (found.channels[1][:, [1, 2, 0]] == turned).all()
    assert found.times_s == pytest.approx([0, 1.001], abs=1e-3)
    assert found.strengths[0].tolist() == [30, 31, 32] and found.noise_dbm.tolist() == [-90, -90]


def test_a_recorded_file_holds_as_many_packets_as_are_known() -> None:
    found = read_intel(real("csiread", "5300_sample_0x1_ap.dat"))
    assert found.channels.shape == (540, 30, 3, 2) and found.skipped == 0
    assert found.times_s[-1] == pytest.approx(59.6, abs=0.05)
    assert found.channels[0, :3, 0, 0].tolist() == [13 - 10j, -1 - 19j, -15 - 12j]
    surface = found.surface()
    assert surface.power_db.shape == (30, 540)
    assert (10 ** (surface.power_db / 10)).mean(axis=0) == pytest.approx(np.ones(540), abs=1e-4)


def test_every_cut_is_one_clear_error(tmp_path: Path) -> None:
    path, whole = tmp_path / "cut.dat", csi_record(channel(1), 5) * 2
    for length in (1, 2, 10, 22, 390, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BadCapture, match=r"cut\.dat: record at byte .* = .*; accepted: "):
            read_intel(path)


def test_damage_is_an_error_or_read_as_packets(tmp_path: Path) -> None:
    whole, rng = csi_record(channel(1), 5) * 3, np.random.default_rng(4)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.integers(0, len(whole))] = rng.integers(0, 256)
        (tmp_path / "bad.dat").write_bytes(damaged)
        try:
            assert np.isfinite(read_intel(tmp_path / "bad.dat").channels).all()
        except BadCapture as error:
            assert "bad.dat" in str(error)


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        (11, 7, "antennas = 7 x 2; accepted: 1 to 3 each"),
        (19, 1, "channel bytes = "),
        (2, 0, "packets = 0"),
        (0, 255, "length = "),
    ],
)
def test_a_record_that_says_what_cannot_be_is_refused(tmp_path: Path, place: int, value: int, match: str) -> None:
    data = bytearray(csi_record(channel(1), 5))
    data[place] = value
    (tmp_path / "bad.dat").write_bytes(data)
    with pytest.raises(BadCapture, match=match):
        read_intel(tmp_path / "bad.dat")
