from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_bridge.emulator.trace import RateTrace, TraceError

rates = st.lists(st.sampled_from([0.0, 1e5, 2.5e6, 7e7]), min_size=1, max_size=6).filter(any)


@st.composite
def traces(draw: st.DrawFn) -> RateTrace:
    chosen = draw(rates)
    steps = draw(st.lists(st.floats(0.05, 3), min_size=len(chosen), max_size=len(chosen)))
    times = [sum(steps[:number], start=5.0) for number in range(len(chosen))]
    return RateTrace.of(times, chosen)


def integrated(trace: RateTrace, until_s: float, steps: int = 4000) -> float:
    """Bits by small steps: what ``passed`` gives in closed form."""
    return sum(trace.rate_at((number + 0.5) * until_s / steps) for number in range(steps)) * until_s / steps


@settings(derandomize=True, max_examples=15, deadline=None)
@given(traces(), st.floats(0, 20))
def test_what_passes_is_the_integral_of_the_rate(trace: RateTrace, until_s: float) -> None:
    assert trace.passed(until_s) == pytest.approx(integrated(trace, until_s), rel=0.02, abs=7e7 * until_s / 500 + 1)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(traces(), st.floats(0, 50), st.floats(1, 1e7))
def test_something_is_through_when_its_bits_have_passed_and_not_before(
    trace: RateTrace, start_s: float, size_bits: float
) -> None:
    end_s = trace.finish(start_s, size_bits)
    assert end_s >= start_s
    assert trace.passed(end_s) - trace.passed(start_s) == pytest.approx(size_bits, rel=1e-6, abs=0.1)
    assert trace.passed(end_s - 1e-4) < trace.passed(end_s)


def test_a_file_of_two_columns_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("# seconds Mbit/s\n10.0 2.5\n\n11.0,0\n13.0\t4\n")
    trace = RateTrace.read(str(path))
    assert trace.times_s == (0.0, 1.0, 3.0)
    assert [trace.rate_at(time_s) for time_s in (0.5, 1.5, 3.5, 5.5)] == [2.5e6, 0.0, 4e6, 2.5e6]
    assert trace.period_s == 5.0 and trace.mean_bits_per_s == pytest.approx((2.5e6 + 8e6) / 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 times and 0 rates"),
        ("1 2\n1 3\n", "time 1: 1 s; accepted: finite and later"),
        ("0 0\n1 0\n", "all rates are 0"),
        ("0 -1\n", "rate 0: -1e.06 bit/s; accepted: 0 to"),
        ("0 nan\n", "rate 0: nan bit/s"),
        ("0 fast\n", "trace.txt:1: '0 fast'; accepted: seconds and a rate in Mbit/s"),
        ("0 1 2\n", "trace.txt:1: '0 1 2'"),
    ],
)
def test_a_file_that_is_no_trace_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(text)
    with pytest.raises(TraceError, match=words) as caught:
        RateTrace.read(str(path))
    assert "trace.txt" in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(TraceError, match="nowhere: No such file"):
        RateTrace.read("nowhere")


def test_recorded_traces_are_read() -> None:
    folder = Path(os.environ.get("FAIRLEAD_DATA", "")) / "radio" / "bandwidth"
    if not folder.is_dir():
        pytest.skip("no recorded bandwidth traces: FAIRLEAD_DATA is not set")
    for kind in ("hsdpa_norway", "oboe", "fcc"):
        trace = RateTrace.read(str(sorted((folder / kind).iterdir())[0]))
        assert 1e4 < trace.mean_bits_per_s < 1e9
