"""Looks over the bridge's simulated radio: OFDM samples out and in, objects found where they are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fairlead_bridge.radio.scene import Scene
from fairlead_bridge.radio.scene import Target as Reflector
from fairlead_bridge.radio.simulated import SimulatedRadio
from fairlead_bridge.reading import Missing
from fairlead_isac.errors import RadioUnavailable
from fairlead_isac.requests.admission import Capacity, admit, integrated_snr
from fairlead_isac.requests.request import Area, read_request, requirements
from fairlead_isac.service.beams import channel_centres, folded_angle, send_gain
from fairlead_isac.service.cell_state import cell_of
from fairlead_isac.service.radio_front import ROAM, SimulatedFront
from fairlead_isac.service.sensing import observe
from fairlead_isac.service.stream_front import StreamFront
from fairlead_isac.settings import Settings, read_settings
from tests.plugins.isac.service.cells import Clock

CONFIG: dict[str, Any] = {
    "cell": {
        "carrier_hz": 7e9,
        "subcarrier_spacing_hz": 120e3,
        "resource_blocks": 264,
        "antennas": 8,
        "power_watts": 0.1,
    },
    "targets": [{"name": "drone", "angle_degrees": 6, "range_m": 110, "velocity_m_per_s": 3, "rcs_m2": 0.1}],
}
AREA = Area(range_m=140, angle_degrees=4, speed_m_per_s=10, rcs_m2=0.1)


def seen(settings: Settings, clock: Clock, number: int = 2, area: Area = AREA) -> Any:
    cell = cell_of(settings)
    request = read_request({"class": number, "area": area.model_dump()})
    admission = admit(requirements(request), area, Capacity(cell, 0.9))
    assert admission.looks is not None, admission.reasons()
    front = SimulatedFront(settings, cell, clock)
    return observe(front, admission.looks, area, cell, 0.01, np.random.default_rng(2)), admission, cell


def test_an_object_is_found_where_it_is() -> None:
    found, admission, cell = seen(read_settings(CONFIG), Clock())
    assert len(found) == 1
    # In the middle of the interval it is a little farther.
    assert found[0].range_m == pytest.approx(110 + 1.5 * admission.looks.interval_s, abs=0.05)
    assert found[0].velocity_m_per_s == pytest.approx(3.0, abs=0.1)
    assert found[0].angle_degrees == pytest.approx(6.0, abs=0.8)
    there = AREA.model_copy(update={"range_m": 110.0})
    beams = send_gain(8, math.radians(4), math.radians(6)) / 8 * send_gain(4, math.radians(4), math.radians(6)) / 4
    expected = 10 * math.log10(integrated_snr(there, cell, admission.looks) * beams)
    assert found[0].snr_db == pytest.approx(expected, abs=1.5)


def test_a_fast_object_stays_one_object() -> None:
    """At 40 m/s it moves through several range cells in an interval."""
    target = {"name": "car", "angle_degrees": 4, "range_m": 100, "velocity_m_per_s": -40, "rcs_m2": 10}
    area = AREA.model_copy(update={"speed_m_per_s": 50.0, "rcs_m2": 10.0})
    found, admission, _ = seen(read_settings({**CONFIG, "targets": [target]}), Clock(), 4, area)
    assert 40 * admission.looks.interval_s > 4 * 0.394
    assert found[0].velocity_m_per_s == pytest.approx(-40, abs=0.1)
    assert [each for each in found if each.snr_db > found[0].snr_db - 15] == [found[0]]


def test_targets_move_with_the_clock_and_turn() -> None:
    clock, settings = Clock(), read_settings(CONFIG)
    cell = cell_of(settings)
    request = read_request({"class": 2, "area": AREA.model_dump()})
    looks = admit(requirements(request), AREA, Capacity(cell, 0.9)).looks
    assert looks is not None
    front, ranges, rng = SimulatedFront(settings, cell, clock), [], np.random.default_rng(1)
    for seconds in (0.0, 4.0, ROAM * 110 / 3 + 4.0):
        clock.now = 1000.0 + seconds
        ranges.append(observe(front, looks, AREA, cell, 0.01, rng)[0])
    assert [each.range_m for each in ranges] == pytest.approx([110, 122, 110 * (1 + ROAM) - 12], abs=0.5)
    assert ranges[2].velocity_m_per_s == pytest.approx(-3, abs=0.2)


def test_an_absent_radio_says_so_and_comes_back() -> None:
    clock = Clock()
    absences = {"absences": [{"begin_s": 1, "end_s": 2}], "timeout_s": 0.5}
    front_settings = read_settings({**CONFIG, "radio": absences})
    front = SimulatedFront(front_settings, cell_of(front_settings), clock)
    front.open()
    clock.now += 1.5
    with pytest.raises(RadioUnavailable, match=r"no answer from the simulated radio within 0\.5 s"):
        front.open()
    clock.now += 1.0
    front.open()


def test_channels_have_the_phases_of_their_parts_of_the_array() -> None:
    antennas, channels = 16, 4
    for angle in np.radians([-35.0, -3.0, 0.0, 8.0, 50.0]):
        wanted = np.exp(2j * np.pi * channel_centres(antennas, channels) * math.sin(angle))
        folded = math.sin(folded_angle(antennas, channels, float(angle)))
        found = np.exp(1j * np.pi * (np.arange(channels) - 1.5) * folded)
        assert np.allclose(found[1:] / found[:-1], wanted[1:] / wanted[:-1])
    assert send_gain(16, 0.2, 0.2) == pytest.approx(16)


def test_a_cell_with_its_own_signal_left_hears_less() -> None:
    quiet, loud = (
        cell_of(read_settings({**CONFIG, "radio": {"self_interference_cancellation_db": value}})) for value in (130, 90)
    )
    assert loud.noise_figure_db > quiet.noise_figure_db + 10
    assert replace(loud, noise_figure_db=quiet.noise_figure_db) == quiet


NARROW: dict[str, Any] = {
    "cell": {
        "carrier_hz": 7e9,
        "subcarrier_spacing_hz": 60e3,
        "resource_blocks": 20,
        "antennas": 1,
        "power_watts": 1.0,
    },
    "radio": {"channels": 1, "delay_s": 2e-6},
}


def test_a_streaming_radio_sends_the_whole_interval() -> None:
    """The same estimates through a radio that is not skipped over, repeats and gaps included."""
    settings = read_settings(NARROW)
    cell, area = cell_of(settings), Area(range_m=150, speed_m_per_s=40, rcs_m2=20)
    request = read_request({"needs": {"velocity_resolution_m_per_s": 6, "refresh_s": 1}, "area": area.model_dump()})
    looks = admit(requirements(request), area, Capacity(cell, 0.9)).looks
    assert looks is not None and looks.repeats * looks.comb > 2
    scene = Scene((Reflector("car", 100 + 299.792458, 15.0, 20.0 * (399.792458 / 100) ** 4),))

    front = StreamFront(settings, cell, lambda configuration: SimulatedRadio(configuration, scene, seed=4))
    found = observe(front, looks, area, cell, 0.01, np.random.default_rng(6))
    assert found[0].range_m == pytest.approx(100, abs=2)
    assert found[0].velocity_m_per_s == pytest.approx(-15, abs=1.5)
    front.close()


def test_a_radio_that_is_missing_or_unplugged_is_unavailable() -> None:
    settings = read_settings(NARROW)
    cell, missing = cell_of(settings), Missing("SoapySDR device {'driver': 'uhd'}", "no device found")
    with pytest.raises(RadioUnavailable, match="no device found"):
        StreamFront(settings, cell, lambda _: missing).open()
    radios: list[SimulatedRadio] = []

    def opened(configuration: Any) -> SimulatedRadio:
        radios.append(SimulatedRadio(configuration))
        return radios[-1]

    front = StreamFront(settings, cell, opened)
    front.open()
    radios[0].unplug()
    with pytest.raises(RadioUnavailable, match="no answer from the simulated radio"):
        front._through(np.zeros(100, np.complex128), front._rate_hz)
    front.open()
    assert len(radios) == 2, "it is opened anew"
