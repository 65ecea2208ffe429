from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_bridge.radio.ofdm import Ofdm
from fairlead_bridge.radio.propagation import noise_power_watts, radar_amplitude, steering
from fairlead_bridge.radio.radio import SPEED_OF_LIGHT, Radio, RadioConfiguration, RadioError, RadioLost
from fairlead_bridge.radio.scene import Converter, Dropout, Scene, SelfInterference, Target, ground_clutter
from fairlead_bridge.radio.simulated import RealTime, SimulatedRadio, with_dropout

RADIO = RadioConfiguration(carrier_hz=28e9, sample_rate_hz=122.88e6)
OFDM = Ofdm(size=256, subcarriers=200, symbols=64, prefix=64)
SILENT = Scene(temperature_kelvin=0.0)


def frame(radio: SimulatedRadio, seed: int = 2, power_watts: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A sent frame's grid, and the received one's."""
    sent = OFDM.random_grid(np.random.default_rng(seed), power_watts)
    radio.transmit(OFDM.modulate(sent))
    return sent, OFDM.demodulate(radio.receive(OFDM.samples))


def channel(radio: SimulatedRadio) -> np.ndarray:
    sent, received = frame(radio)
    return received / sent


def test_ofdm_comes_back_as_it_was_sent() -> None:
    grid = OFDM.random_grid(np.random.default_rng(1))
    np.testing.assert_allclose(OFDM.demodulate(OFDM.modulate(grid)), grid, atol=1e-12)


def test_it_is_a_radio() -> None:
    assert isinstance(SimulatedRadio(RADIO), Radio)


@settings(derandomize=True, max_examples=12, deadline=None)
@given(st.floats(3, 70), st.floats(-40, 40))
def test_an_echo_has_the_delay_doppler_shift_and_power_of_its_target(range_m: float, velocity: float) -> None:
    target = Target("car", range_m, velocity, cross_section_m2=3.0, phase_rad=0.4)
    found = channel(SimulatedRadio(RADIO, replace(SILENT, targets=(target,))))
    spacing_hz = RADIO.sample_rate_hz / OFDM.size
    symbol_s = (OFDM.size + OFDM.prefix) / RADIO.sample_rate_hz
    frequencies = (np.arange(OFDM.subcarriers) - OFDM.subcarriers // 2) * spacing_hz
    # The middle of each symbol's useful part, and where the target is then.
    times = (np.arange(OFDM.symbols) + 0.5) * symbol_s + OFDM.prefix / 2 / RADIO.sample_rate_hz
    ranges = range_m - velocity * times
    phases = np.exp(0.4j - 2j * np.pi * (RADIO.carrier_hz + frequencies[:, None]) * 2 * ranges / SPEED_OF_LIGHT)
    expected = radar_amplitude(range_m, 3.0, RADIO.wavelength_m) * phases
    error = np.mean(np.abs(found - expected) ** 2) / np.mean(np.abs(expected) ** 2)
    assert error < 1e-3


def test_targets_stand_in_the_map_where_they_are() -> None:
    targets = (Target("car", 40.0, 14.0, 10.0), Target("walker", 25.0, -5.0, 1.0))
    scene = Scene(targets, ground_clutter(20, seed=3, nearest_m=5, farthest_m=70, cross_section_m2=1e-3))
    radio = SimulatedRadio(RADIO, replace(scene, self_interference=SelfInterference(100.0)), seed=4)
    sent, received = frame(radio, power_watts=10.0)
    power = OFDM.range_doppler(received, sent)
    range_bin_m = SPEED_OF_LIGHT / 2 / (OFDM.subcarriers * RADIO.sample_rate_hz / OFDM.size)
    frame_s = OFDM.samples / RADIO.sample_rate_hz
    for target in targets:
        row = target.range_m / range_bin_m
        column = OFDM.symbols / 2 + 2 * target.velocity_m_per_s / RADIO.wavelength_m * frame_s
        near = power[round(row) - 2 : round(row) + 3, round(column) - 1 : round(column) + 2]
        assert near.max() > 30 * np.median(power)


def test_in_which_pieces_samples_are_asked_for_does_not_matter() -> None:
    scene = replace(SILENT, targets=(Target("car", 40.0, 14.0),), self_interference=SelfInterference(80.0))
    samples = OFDM.modulate(OFDM.random_grid(np.random.default_rng(5)))
    whole, pieces = SimulatedRadio(RADIO, scene), SimulatedRadio(RADIO, scene)
    whole.transmit(samples)
    for part in np.array_split(samples, 7):
        pieces.transmit(part)
    sizes = [1, 999, 1025, 5000, len(samples) - 7025]
    expected = whole.receive(len(samples))
    received = np.concatenate([pieces.receive(size) for size in sizes])
    np.testing.assert_allclose(received, expected, rtol=1e-9, atol=1e-15)


def test_a_seed_decides_all_samples() -> None:
    scene = Scene((Target("car", 40.0),), self_interference=SelfInterference(90.0, kind="white"))
    runs = [channel(SimulatedRadio(RADIO, scene, seed=seed)) for seed in (7, 7, 8)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


def test_noise_and_leakage_have_their_power() -> None:
    silence = SimulatedRadio(RADIO, Scene(noise_figure_db=6.0), seed=1).receive(40_000)
    thermal = noise_power_watts(RADIO.sample_rate_hz, 6.0, 290.0)
    assert np.mean(np.abs(silence) ** 2) == pytest.approx(thermal, rel=0.05)
    for kind in ("path", "white"):
        radio = SimulatedRadio(RADIO, replace(SILENT, self_interference=SelfInterference(70.0, kind=kind)), seed=1)
        radio.transmit(np.full(40_000, 3.0 + 0j))
        heard = radio.receive(40_000)[100:]
        assert np.mean(np.abs(heard) ** 2) == pytest.approx(9.0 * 1e-7, rel=0.05)


def test_an_array_hears_where_a_target_is_and_a_beam_finds_it() -> None:
    configuration = replace(RADIO, transmit_antennas=4, receive_antennas=8)
    scene = replace(SILENT, targets=(Target("drone", 30.0, angle_rad=0.4),))
    heard: list[float] = []
    for angle in (0.4, -0.5):
        radio = SimulatedRadio(configuration, scene)
        radio.transmit(np.outer(steering(angle, 4), np.ones(2000)))
        received = radio.receive(2000)
        assert received.shape == (8, 2000)
        heard.append(float(np.mean(np.abs(received) ** 2)))
        angles = np.linspace(-1, 1, 201)
        covariance = received @ received.conj().T
        powers = [(steering(at, 8).conj() @ covariance @ steering(at, 8)).real for at in angles]
        assert angles[int(np.argmax(powers))] == pytest.approx(0.4, abs=0.02)
    assert heard[0] > 10 * heard[1]


def test_a_converter_rounds_and_clips() -> None:
    leak = SelfInterference(0.0, delay_s=0.0)
    scene = replace(SILENT, self_interference=leak, converter=Converter(bits=8, full_scale_watts=1.0))
    radio = SimulatedRadio(RADIO, scene)
    radio.transmit(np.full(2000, 5.0 + 0j))
    loud = radio.receive(2000)
    assert np.abs(loud.real).max() <= 1.0 and np.abs(loud.imag).max() <= 1.0
    np.testing.assert_allclose(loud.real * 128, np.round(loud.real * 128), atol=1e-9)


def test_a_radio_that_disappears_is_lost_and_comes_back() -> None:
    lost = SimulatedRadio(replace(RADIO, timeout_s=1e-3), with_dropout(Scene(), 1e-4, 1.5e-3), seed=1)
    lost.receive(round(1e-4 * RADIO.sample_rate_hz))
    waited: list[float] = []
    for call in (lambda: lost.receive(10), lambda: lost.transmit(np.ones(10))):
        start_s = lost.time_s
        with pytest.raises(RadioLost, match=r"no answer from the simulated radio within 0\.001 s"):
            call()
        waited.append(lost.time_s - start_s)
    assert waited == pytest.approx([1e-3, 1e-3])
    assert lost.receive(10).shape == (10,)
    lost.unplug()
    with pytest.raises(RadioLost):
        lost.receive(10)
    lost.plug()
    assert lost.receive(10).shape == (10,)


def test_what_was_queued_before_a_loss_is_not_sent_after_it() -> None:
    scene = replace(SILENT, self_interference=SelfInterference(0.0, 0.0), dropouts=(Dropout(1e-6, 2e-6),))
    radio = SimulatedRadio(replace(RADIO, timeout_s=1e-5), scene)
    radio.transmit(np.ones(100_000))
    assert np.abs(radio.receive(200)).max() > 0.9
    with pytest.raises(RadioLost):
        radio.receive(200)
    assert np.abs(radio.receive(2000)).max() < 1e-6


def test_a_queue_that_ran_dry_sends_nothing_and_goes_on_from_now() -> None:
    radio = SimulatedRadio(RADIO, replace(SILENT, self_interference=SelfInterference(0.0, 0.0)))
    radio.transmit(np.ones(1000))
    first = np.abs(radio.receive(5000))
    radio.transmit(np.ones(1000))
    second = np.abs(radio.receive(5000))
    for heard in (first, second):
        assert np.mean(heard[50:950]) == pytest.approx(1.0, abs=1e-3) and heard[1100:].max() < 1e-6
    assert radio.underruns == 1


def test_targets_go_on_from_where_a_new_scene_has_them() -> None:
    radio = SimulatedRadio(RADIO, replace(SILENT, targets=(Target("car", 60.0, 0.0),)))
    frame(radio)
    radio.scene = replace(SILENT, targets=(Target("car", 20.0, 0.0),))
    found = channel(radio)
    turn = np.angle(np.sum(found[1:] * found[:-1].conj()))
    delay_s = -turn / (2 * math.pi * RADIO.sample_rate_hz / OFDM.size)
    assert delay_s * SPEED_OF_LIGHT / 2 == pytest.approx(20.0, abs=0.1)


def test_real_time_waits_for_the_samples() -> None:
    pace = RealTime()
    radio = SimulatedRadio(replace(RADIO, sample_rate_hz=1e5), wait_until=pace)
    start_s = pace._start_s  # pyright: ignore[reportPrivateUsage]
    radio.receive(2000)
    assert time.monotonic() - start_s >= 0.02


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda radio: radio.transmit(np.ones((2, 5))), r"samples of shape \[2, 5\]; accepted: \[samples\]"),
        (lambda radio: radio.transmit(np.array([1.0, np.nan])), "samples: some are not finite"),
        (lambda radio: radio.receive(0), "count: 0; accepted: an integer above 0"),
        (lambda radio: RadioConfiguration(-1, 1e6), "carrier_hz: -1; accepted: a number above 0"),
        (lambda radio: RadioConfiguration(1e9, 1e6, receive_antennas=0), "receive_antennas: 0; accepted: 1 to 1024"),
        (lambda radio: Scene((Target("x", -1.0),)), "target x: -1.0 m"),
        (lambda radio: Scene(dropouts=(Dropout(2, 1),)), "dropout: 2 to 1 s"),
    ],
)
def test_what_makes_no_sense_is_refused(call: object, words: str) -> None:
    with pytest.raises(RadioError, match=words):
        call(SimulatedRadio(RADIO))  # pyright: ignore
