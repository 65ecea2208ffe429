"""From a file to a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fairlead_isac.captures.openisac import Recording
from fairlead_isac.captures.processing import process
from fairlead_isac.errors import IsacError, MissingExtra

from .recordings import csi_record, map_levels, matlab_bytes


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "made.mat"
    path.write_bytes(matlab_bytes("rd_map", map_levels([(83, 200, 3e4), (152, 150, 3e3)])))
    return path


def test_a_picture_shows_map_and_detections(recorded: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    picture = tmp_path / "pictures" / "made.png"
    done = process(recorded, picture, recording=Recording(symbols=60))
    assert [each.moving for each in done.detections] == [True, False]
    pixels = image.imread(picture)
    assert pixels.shape[0] > 500 and pixels.shape[1] > 800
    marked = (np.abs(pixels[..., :3] - np.array([1, 0x3B / 255, 0x30 / 255])) < 0.02).all(axis=2)
    assert marked.sum() > 50  # the circle around what moves


def test_a_record_is_plain_json(recorded: Path) -> None:
    record = json.loads(json.dumps(process(recorded, recording=Recording(symbols=60)).record()))
    assert record["kind"] == "range-Doppler" and record["rows"]["unit"] == "m" and record["rows"]["cells"] == 400
    assert record["detections"][0]["snr_db"] > 30


def test_wifi_packets_make_a_map_without_targets(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "a.dat"
    rng = np.random.default_rng(1)
    packets = [rng.integers(-90, 90, (30, 1, 1)) + 0j for _ in range(4)]
    path.write_bytes(b"".join(csi_record(each, 1000 * index) for index, each in enumerate(packets)))
    done = process(path, tmp_path / "a.svg")
    assert done.surface.kind == "CSI" and done.detections == []
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_what_cannot_be_done_is_said(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IsacError, match=r"suffix = '.csv'; accepted: .mat \(OpenISAC map\)"):
        process(tmp_path / "a.csv")
    with pytest.raises(IsacError, match="only raw samples"):
        process(recorded, moving_only=True)
    with pytest.raises(IsacError, match=r"picture = .*a\.bmp'; accepted: a name that ends in .png"):
        process(recorded, tmp_path / "a.bmp", recording=Recording(symbols=60))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match="fairlead-isac\\[plots\\]"):
        process(recorded, tmp_path / "a.png", recording=Recording(symbols=60))
