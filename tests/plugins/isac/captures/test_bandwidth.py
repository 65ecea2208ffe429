"""Bandwidth traces."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead_isac.captures.bandwidth import read_bandwidth
from fairlead_isac.captures.problems import BadCapture

from .recordings import real


def test_a_trace_is_steps_that_repeat(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("5.0\t2.5\n6.0 0\n\n7.5 10\n")
    trace = read_bandwidth(path)
    assert trace.times_s.tolist() == [0, 1, 2.5]
    assert trace.duration_s == pytest.approx(3.75)
    assert trace.at([0, 0.9, 1, 2.5, 3.7, 3.75, 7.5]).tolist() == [2.5e6, 2.5e6, 0, 1e7, 1e7, 2.5e6, 2.5e6]
    path.write_text("0 3")
    assert float(read_bandwidth(path).at(17.3)) == 3e6


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("0 1\nx 2\n", "line 2 = 'x 2'; accepted: time in s and rate in Mbit/s"),
        ("0 1\n0 2\n", "line 2 = '0 2'; accepted: a later time"),
        ("0 -1\n", "line 1 = '0 -1'"),
        ("0 nan\n", "line 1"),
        ("0 1 2\n", "line 1"),
        ("\n\n", "lines = 0"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "bad.log").write_text(text)
    with pytest.raises(BadCapture, match=match):
        read_bandwidth(tmp_path / "bad.log")


def test_all_recorded_traces_are_read() -> None:
    paths = [path for path in real("bandwidth").glob("*/*") if path.is_file()]
    assert len(paths) > 100
    for path in paths:
        trace = read_bandwidth(path)
        assert trace.duration_s > 10 and 1e4 < trace.rates_bits_per_s.mean() < 1e9
