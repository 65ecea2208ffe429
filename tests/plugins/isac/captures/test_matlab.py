"""MATLAB files against bytes made here and against SciPy's reader and writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairlead_isac.captures.matlab import read_matlab
from fairlead_isac.captures.problems import BadCapture
from fairlead_isac.errors import NotFound

from .recordings import matlab_bytes, real


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["f4", "f8", "i2"])
def test_matrices_come_back(tmp_path: Path, kind: str, compressed: bool, order: str) -> None:
    values = np.arange(15).reshape(3, 5).astype(kind)
    path = tmp_path / "a.mat"
    path.write_bytes(matlab_bytes("rd_map", values, compressed, order))
    found = read_matlab(path)
    assert list(found) == ["rd_map"]
    assert found["rd_map"].dtype == values.dtype
    assert (found["rd_map"] == values).all()


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_is_read(tmp_path: Path, compressed: bool) -> None:
    scipy = pytest.importorskip("scipy.io")
    rng = np.random.default_rng(1)
    wanted = {
        "cube": rng.standard_normal((3, 4, 5)),
        "z": rng.standard_normal((2, 6)) + 1j * rng.standard_normal((2, 6)),
        "small": np.array([[7]], np.int8),
        "u": rng.integers(0, 60000, (9, 2)).astype(np.uint16),
    }
    scipy.savemat(tmp_path / "a.mat", {**wanted, "words": "text", "s": {"a": 1}}, do_compression=compressed)
    found = read_matlab(tmp_path / "a.mat")
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values)


def test_a_recorded_map_is_what_scipy_reads() -> None:
    scipy = pytest.importorskip("scipy.io")
    path = real("openisac", "monostatic_md_uav.mat")
    assert (read_matlab(path)["md_map"] == scipy.loadmat(path)["md_map"]).all()


def test_every_cut_is_one_clear_error(tmp_path: Path) -> None:
    whole = matlab_bytes("rd_map", np.ones((9, 9)))
    path = tmp_path / "cut.mat"
    for length in (*range(1, 128, 25), *range(136, len(whole) - 1, 37)):
        path.write_bytes(whole[:length])
        with pytest.raises(BadCapture, match=r"cut\.mat: .* = .*; accepted: "):
            read_matlab(path)


def test_damage_is_an_error_or_read_as_numbers(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(2), tmp_path / "bad.mat"
    for compressed in (False, True):
        whole = bytearray(matlab_bytes("rd_map", np.ones((9, 9)), compressed))
        for place in rng.integers(124, len(whole), 80):
            damaged = whole.copy()
            damaged[place] ^= int(rng.integers(1, 256))
            path.write_bytes(damaged)
            try:
                read_matlab(path)
            except BadCapture as error:
                assert "bad.mat" in str(error)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "size = 0 bytes"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "HDF5"),
        (b"hello" * 100, "header"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, match: str) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(data)
    with pytest.raises(BadCapture, match=match):
        read_matlab(path)
    with pytest.raises(NotFound, match="no such file"):
        read_matlab(tmp_path / "none.mat")
    with pytest.raises(BadCapture, match="file = "):
        read_matlab(tmp_path)
