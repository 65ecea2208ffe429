"""Comparing dReLU models with their SwiGLU twins: the arithmetic of the rows."""

from __future__ import annotations

import math

import pytest

from benchmarks.sparsity_curve import Result, compare, interval, main


def test_a_rise_is_that_of_perplexity_between_models_of_one_seed() -> None:
    gated = [Result(3.0, 0.0, 0.0), Result(3.1, 0.0, 0.0)]
    found = [Result(3.0 + math.log(1.01), 0.8, 0.9), Result(3.1 + math.log(1.03), 0.9, 0.94)]
    gates, neurons, rise, half = compare("case", found, gated)
    assert gates.ours == pytest.approx(85) and neurons.ours == pytest.approx(92)
    assert rise.ours == pytest.approx(2)
    assert half.ours == pytest.approx(12.706 * 1.0)


def test_one_seed_has_no_interval() -> None:
    assert interval([2.0]) == (2.0, math.inf)


def test_nothing_asked_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--mixture" in capsys.readouterr().err
