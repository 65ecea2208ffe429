"""Which sensing requests a radio can meet, with which air time, and why not the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_isac.physics.channel import gaussian
from fairlead_isac.physics.crb import MEANINGFUL_DB
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.requests.admission import Admission, Capacity, accuracies, admit, element_snr, look_numerology
from fairlead_isac.requests.request import read_request, requirements
from fairlead_isac.scenario import Cell

#: 380 MHz at 7 GHz, 16 antennas, 1 W.
CELL = Cell("cell", 16, 1.0, 5.0, Numerology.new_radio(7e9, 3, 264), resource_blocks=264)
FREE = Capacity(CELL, share=0.9, samples_per_s=1e7)


def asked(number: int | None = None, range_m: float = 200.0, capacity: Capacity = FREE, **more: object) -> Admission:
    area = {"range_m": range_m, "rcs_m2": 1.0, **more.pop("area", {})}  # type: ignore[dict-item]
    body = {"area": area, **more} | ({} if number is None else {"class": number})
    request = read_request(body)
    assert request.area is not None
    return admit(requirements(request), request.area, capacity)


def failed(admission: Admission) -> set[str]:
    return {verdict.requirement for verdict in admission.verdicts if not verdict.met}


def test_classes_cost_more_air_time_the_more_they_ask_for() -> None:
    shares = []
    for number in (1, 2, 4):
        admission = asked(number, 500.0)
        assert admission.met and admission.looks is not None and admission.reasons() == ()
        shares.append(admission.looks.air_share)
    assert shares == sorted(shares) and shares[-1] > 20 * shares[0]
    assert 0.2 < shares[-1] < 0.6


def test_a_band_that_is_too_narrow_is_said_with_the_one_that_would_do() -> None:
    narrow = Cell("cell", 16, 1.0, 5.0, Numerology.new_radio(3.5e9, 1, 100), resource_blocks=100)
    refused = asked(3, 100.0, replace(FREE, cell=narrow))
    assert not refused.met and refused.looks is None
    assert "4.16 m over 36 MHz, 1 m asked for: 149.9 MHz would do" in refused.reasons()[0]
    assert asked(1, 100.0, replace(FREE, cell=narrow)).met


def test_what_is_too_far_away_is_refused_by_the_energy_it_would_take() -> None:
    assert failed(asked(4, 900.0)) >= {"air_share", "horizontal_m"}
    far = asked(1, 1200.0, area={"rcs_m2": 0.001})
    assert "air_share" in failed(far)
    assert f"below {MEANINGFUL_DB:.0f} dB no accuracy can be told" in " ".join(far.reasons())
    assert failed(asked(1, 2000.0)) >= {"range_m"}


def test_what_others_have_taken_is_not_there() -> None:
    whole = asked(4, 500.0)
    assert whole.looks is not None
    left = replace(FREE, share=whole.looks.air_share / 2)
    refused = asked(4, 500.0, left)
    assert failed(refused) == {"air_share"}
    assert "left for sensing" in refused.reasons()[0]


def test_a_slow_processor_cannot_keep_up_with_a_refresh() -> None:
    slow = replace(FREE, samples_per_s=2e5)
    assert failed(asked(4, 100.0, slow)) == {"refresh_s"}
    assert failed(asked(4, 100.0, replace(FREE, busy=0.99))) == {"refresh_s"}
    assert asked(1, 100.0, slow).met


def test_a_height_is_asked_for_explicitly_and_refused_by_a_linear_array() -> None:
    assert asked(1).met
    refused = asked(1, needs={"vertical_m": 10})
    assert failed(refused) == {"vertical_m"} and "linear array" in refused.reasons()[0]


def test_explicit_needs_go_before_the_class() -> None:
    strict, loose = asked(3, strict=True), asked(3)
    assert strict.looks is not None and loose.looks is not None
    assert strict.looks.refresh_s == 0.05 and loose.looks.refresh_s == 1.0
    changed = asked(3, needs={"refresh_s": 0.5})
    assert changed.looks is not None and changed.looks.refresh_s == 0.5
    assert asked(needs={"refresh_s": 2.0, "horizontal_m": 5.0}).met


def test_looks_tell_the_fastest_target_and_the_asked_resolution() -> None:
    admission = asked(4, area={"speed_m_per_s": 60.0})
    assert admission.looks is not None
    grid = look_numerology(CELL, admission.looks)
    assert grid.unambiguous_velocity_m_per_s >= 60.0
    assert grid.velocity_resolution_m_per_s <= 0.5
    assert admission.looks.repeats * CELL.numerology.symbol_s <= admission.looks.spacing_s


@settings(max_examples=25, deadline=None)
@given(st.floats(50, 1000), st.floats(0.01, 100), st.floats(2, 80), st.integers(1, 7), st.booleans())
def test_what_is_admitted_holds(range_m: float, rcs_m2: float, speed: float, number: int, strict: bool) -> None:
    admission = asked(number, range_m, area={"rcs_m2": rcs_m2, "speed_m_per_s": speed}, strict=strict)
    assert admission.met == (admission.looks is not None) == (not admission.reasons())
    if admission.looks is None:
        return
    body = {"class": number, "strict": strict, "area": {"range_m": range_m, "rcs_m2": rcs_m2, "speed_m_per_s": speed}}
    request = read_request(body)
    assert request.area is not None
    needs = requirements(request)
    along, across, velocity = accuracies(request.area, CELL, admission.looks)
    assert admission.integrated_snr_db >= MEANINGFUL_DB - 1e-6
    assert admission.looks.air_share <= FREE.share * (1 + 1e-6)
    if needs.horizontal_m is not None:
        assert 2 * np.hypot(along, across) <= needs.horizontal_m * (1 + 1e-6)
    if needs.velocity_m_per_s is not None:
        assert 1.96 * velocity <= needs.velocity_m_per_s * (1 + 1e-6)


def test_the_accuracy_is_the_one_that_samples_give() -> None:
    """Ranges estimated from noisy looks deviate as admission said: a maximum search on the likelihood, 60 draws."""
    rng = np.random.default_rng(3)
    small = Cell("cell", 4, 0.05, 5.0, Numerology.new_radio(7e9, 3, 20), resource_blocks=20)
    admission = asked(None, 60.0, replace(FREE, cell=small), needs={"horizontal_m": 8.0})
    assert admission.looks is not None
    request = read_request({"class": 1, "area": {"range_m": 60.0}})
    assert request.area is not None
    grid = look_numerology(small, admission.looks)
    snr = element_snr(request.area, small, admission.looks)
    fine = np.linspace(57, 63, 1201)
    phases = np.exp(4j * np.pi * np.outer(fine, grid.frequencies_hz) / 299_792_458.0)
    noise = gaussian((60, grid.subcarriers), rng, 1 / grid.symbols)
    received = np.sqrt(snr) * phases[600].conj() + noise
    errors = fine[np.abs(received @ phases.T).argmax(axis=1)] - fine[600]
    predicted = accuracies(request.area, small, admission.looks)[0]
    assert errors.std() == pytest.approx(predicted, rel=0.3)
