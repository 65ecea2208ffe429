"""Estimates are corrected by what instances measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.placement import Calibration
from tests.agent.placement.offers import estimate


def learnt(ratios: list[float]) -> Calibration:
    calibration = Calibration()
    for ratio in ratios:
        calibration.observe("llm", "q8", estimate(throughput=10.0), 10.0 * ratio, None)
    return calibration


def test_what_was_never_measured_is_left_alone() -> None:
    assert Calibration().apply("llm", "bf16", estimate()) == estimate()
    assert learnt([0.5]).apply("vectors", "q8", estimate()) == estimate()
    assert learnt([0.5]).factor("vectors", "q8") == 1.0


def test_an_untried_variant_does_not_beat_a_measured_one_by_being_untried() -> None:
    calibration = learnt([0.3] * 5)
    tried, untried = (calibration.apply("llm", variant, estimate(throughput=10.0)) for variant in ("q8", "bf16"))
    assert untried.throughput_per_s.p50 == pytest.approx(tried.throughput_per_s.p50)
    assert untried.throughput_per_s.p10 < tried.throughput_per_s.p10
    assert untried.throughput_per_s.p90 > tried.throughput_per_s.p90


def test_a_variant_that_ran_goes_by_itself() -> None:
    calibration = learnt([0.3] * 5)
    calibration.observe("llm", "bf16", estimate(throughput=10.0), 20.0, None)
    assert calibration.factor("llm", "bf16") == pytest.approx(2.0)
    assert calibration.factor("llm", "q8") == pytest.approx(0.3)


def test_variants_that_ran_often_count_more_for_one_that_did_not() -> None:
    calibration = learnt([0.25] * 9)
    calibration.observe("llm", "bf16", estimate(throughput=10.0), 10.0, None)
    assert calibration.factor("llm", "int4") == pytest.approx(0.25**0.9)


@given(st.floats(0.05, 20))
def test_a_constant_error_is_learnt_exactly(ratio: float) -> None:
    corrected = learnt([ratio] * 5).apply("llm", "q8", estimate(throughput=10.0))
    assert corrected.throughput_per_s.p50 == pytest.approx(10.0 * ratio, rel=1e-6)


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_the_correction_follows_a_change(before: float, after: float) -> None:
    factor = learnt([before] * 10 + [after] * 60).factor("llm", "q8")
    assert factor == pytest.approx(after, rel=0.02)


def test_scattered_measurements_widen_the_estimate() -> None:
    steady = learnt([0.5] * 20).apply("llm", "q8", estimate()).throughput_per_s
    scattered = learnt([0.25, 1.0] * 10).apply("llm", "q8", estimate()).throughput_per_s
    assert scattered.p90 / scattered.p10 > 1.5 * steady.p90 / steady.p10


def test_latency_is_learnt_on_its_own() -> None:
    calibration = Calibration()
    calibration.observe("llm", "q8", estimate(0.5, spread=0.0), None, 1.0)
    corrected = calibration.apply("llm", "q8", estimate(0.5, spread=0.0))
    assert corrected.latency_s.p90 == pytest.approx(1.0)
    assert corrected.throughput_per_s == estimate(spread=0.0).throughput_per_s


def test_absurd_measurements_are_clipped() -> None:
    assert learnt([1e-30]).factor("llm", "q8") == pytest.approx(0.01)


def test_what_was_learnt_outlives_the_agent() -> None:
    first, second = learnt([0.3, 0.5, 0.4]), Calibration()
    second.load(first.dump())
    assert second.apply("llm", "q8", estimate()) == first.apply("llm", "q8", estimate())


def test_a_broken_dump_is_named() -> None:
    with pytest.raises(ValueError, match="calibration 'x'"):
        Calibration().load({"x": [1.0]})
    with pytest.raises(ValueError, match="weight: 0"):
        Calibration(0)
