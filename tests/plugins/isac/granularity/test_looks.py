"""Sensing integrates over frames: what an interval's looks must come to, and whether they have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_isac.granularity.band import service_of
from fairlead_isac.granularity.cell import groups_of, stopping
from fairlead_isac.granularity.looks import LookBook, needs_of, symbol_snr
from fairlead_isac.physics.crb import angle_variance, range_variance
from fairlead_isac.physics.numerology import Numerology
from tests.plugins.isac.granularity.scenes import CELL, NUMEROLOGY, SLOT_S, seen, tracked


def test_half_a_metre_a_second_needs_86_ms_at_3_5_ghz_and_10_7_at_28() -> None:
    assert needs_of(tracked(), CELL).extent_s == pytest.approx(86e-3, rel=0.01)
    high = replace(CELL, numerology=Numerology.new_radio(28e9, 3, 100))
    assert needs_of(tracked(), high).extent_s == pytest.approx(10.7e-3, rel=0.01)


def test_the_energy_meets_each_bound_exactly() -> None:
    for need in ({"range_std_m": 0.02, "angle_std_rad": 1.0}, {"range_std_m": 10.0, "angle_std_rad": 1e-3}):
        target = tracked(**need)
        needs = needs_of(target, CELL)
        snr = needs.energy / NUMEROLOGY.subcarriers
        if needs.binding == "range":
            one = replace(NUMEROLOGY, symbols=1)
            assert np.sqrt(range_variance(snr, one)) == pytest.approx(need["range_std_m"], rel=1e-6)
        else:
            a = np.exp(1j * np.pi * np.sin(0.2) * np.arange(16))
            # |a^H w|^2 = 1 for w = a / 16: each receiving antenna hears a sixteenth of the energy.
            bound = angle_variance(np.outer(a, a.conj()) / 256, 0.2, needs.energy / 16, 1.0, 1)
            assert np.sqrt(bound) == pytest.approx(need["angle_std_rad"], rel=2e-3)
    assert needs_of(tracked(range_std_m=10.0, angle_std_rad=1.0), CELL).binding == "threshold"


@settings(max_examples=40, deadline=None)
@given(st.floats(60, 320), st.sampled_from([0.02, 0.5, 10.0]), st.integers(0, 2**32 - 1))
def test_looks_at_any_time_within_their_groups_meet_the_needs(range_m: float, rcs: float, seed: int) -> None:
    random, observation = np.random.default_rng(seed), seen()
    target = tracked(range_m=range_m, rcs=rcs)
    service = service_of(target, observation)
    book = LookBook(SLOT_S)
    book.begin(0.0, "car", service.needs)
    times: dict[float, int] = {}
    for group in groups_of(0.0, service, SLOT_S):
        slots = np.arange(np.ceil(group.begin_s / SLOT_S - 1e-6), np.floor(group.end_s / SLOT_S + 1e-6) + 1)
        at = SLOT_S * (float(random.choice(slots)) if len(slots) else np.ceil(group.begin_s / SLOT_S - 1e-6))
        times[at] = times.get(at, 0) + group.symbols
    assert max(times) < 0.1
    for at, symbols in sorted(times.items()):
        book.add(at, "car", symbol_snr(target.target, CELL), symbols)
    verdict = book.begin(0.1, "car", service.needs)
    assert verdict is not None and verdict.met, verdict
    assert verdict.symbols == max(service.symbols, service.needs.groups)


def test_looks_of_one_slot_never_resolve_velocity() -> None:
    target = tracked(range_m=60.0)
    book, needs = LookBook(SLOT_S), needs_of(target, CELL)
    book.begin(0.0, "car", needs)
    book.add(0.05, "car", symbol_snr(target.target, CELL), 12)
    verdict = book.begin(0.1, "car", needs)
    assert verdict is not None and not verdict.met
    assert "velocity resolution" in verdict.missed and verdict.energy_share > 1.0


def test_sparse_looks_are_ambiguous_and_few_are_weak() -> None:
    target = tracked(range_m=200.0, rcs=0.02)
    book, needs = LookBook(SLOT_S), needs_of(target, CELL)
    book.begin(0.0, "car", needs)
    for at in (0.0, 0.04, 0.09):
        book.add(at, "car", symbol_snr(target.target, CELL), 1)
    verdict = book.begin(0.1, "car", needs)
    assert verdict is not None and set(verdict.missed) >= {"velocity ambiguity", needs.binding}


def test_an_interval_without_looks_is_missed_and_each_is_judged_once() -> None:
    book, needs = LookBook(SLOT_S), needs_of(tracked(), CELL)
    assert book.begin(0.0, "car", needs) is None
    assert book.begin(0.05, "car", needs) is None
    first = book.begin(0.1, "car", needs)
    assert first is not None and not first.met and first.begin_s == 0.0
    assert book.begin(0.1 + SLOT_S, "car", needs) is None


def test_more_looks_make_more_freedom() -> None:
    observation = seen()
    spans = []
    for range_m in (60.0, 150.0, 250.0):
        service = service_of(tracked(range_m=range_m, rcs=0.02), observation)
        groups = groups_of(0.0, service, SLOT_S)
        spans.append((sum(each.symbols for each in groups), groups[0].end_s - groups[0].begin_s))
    assert [each[0] for each in spans] == sorted(each[0] for each in spans)
    assert spans[0][1] <= spans[-1][1] and spans[-1][1] > 2 * SLOT_S


def test_thresholds_of_stopping_fall_with_the_slots_that_are_left() -> None:
    values = np.random.default_rng(0).uniform(0.5, 1.5, 4000)
    thresholds = stopping(values, 20)
    assert (np.diff(thresholds) < 0).all()
    # Of independent draws, waiting by these thresholds beats taking the first by what theory says.
    draws = np.random.default_rng(1).choice(values, (4000, 21))
    taken = [next(v for j, v in enumerate(row) if j == 20 or v <= thresholds[19 - j]) for row in draws]
    assert np.mean(taken) == pytest.approx(np.minimum(values, thresholds[-1]).mean(), rel=0.02)
