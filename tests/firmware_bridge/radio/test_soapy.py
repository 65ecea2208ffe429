"""A module of SoapySDR's shape (0.8), which fails as its drivers do; and the real one, where it is installed."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fairlead_bridge.radio.radio import Radio, RadioConfiguration, RadioError, RadioLost
from fairlead_bridge.radio.recovering import RecoveringRadio
from fairlead_bridge.radio.soapy import SoapyRadio, open_soapy, soapy_devices
from fairlead_bridge.reading import Missing

CONFIGURATION = RadioConfiguration(3.5e9, 1e6, full_scale_watts=4.0, timeout_s=60.0)
TRANSMIT, RECEIVE, TIMEOUT, STREAM_ERROR, OVERFLOW = 0, 1, -1, -2, -4


@dataclass
class StreamResult:
    ret: int
    flags: int = 0
    timeNs: int = 0


class Device:
    """Loops what is sent back to the receiver, at most 100 samples a call; ``script`` answers calls before that."""

    made: list[Device] = []
    absent = False

    def __init__(self, arguments: dict[str, str]) -> None:
        if Device.absent or arguments.get("driver") != "loop":
            raise RuntimeError("SoapySDR::Device::make() no match")
        self.script: list[int] = []
        self.loop = np.zeros(0, np.complex64)
        self.rate = 0.0
        self.frequency = self.gain = 0.0
        self.active: set[str] = set()
        self.hang: threading.Event | None = None
        Device.made.append(self)

    @staticmethod
    def enumerate() -> list[dict[str, str]]:
        return [{"driver": "loop", "label": "a loop"}]

    def getNumChannels(self, direction: int) -> int:
        return 2

    def setSampleRate(self, direction: int, channel: int, rate: float) -> None:
        self.rate = min(rate, 50e6)

    def getSampleRate(self, direction: int, channel: int) -> float:
        return self.rate

    def setFrequency(self, direction: int, channel: int, frequency: float) -> None:
        self.frequency = frequency

    def setGain(self, direction: int, channel: int, gain: float) -> None:
        self.gain = gain

    def setupStream(self, direction: int, form: str, channels: list[int]) -> str:
        assert form == "CF32"
        return f"{direction} {channels}"

    def activateStream(self, stream: str) -> int:
        self.active.add(stream)
        return 0

    def deactivateStream(self, stream: str) -> int:
        self.active.discard(stream)
        return 0

    def closeStream(self, stream: str) -> None: ...

    def writeStream(self, stream: str, rows: list[Any], size: int, timeoutUs: int) -> StreamResult:
        assert stream.startswith("0") and rows[0].dtype == np.complex64
        taken = min(100, size)
        self.loop = np.concatenate([self.loop, rows[0][:taken]])
        return StreamResult(taken)

    def readStream(self, stream: str, rows: list[Any], size: int, timeoutUs: int) -> StreamResult:
        assert stream.startswith("1") and rows[0].dtype == np.complex64
        if self.hang is not None:
            self.hang.wait(60)
        if self.script:
            return StreamResult(self.script.pop(0))
        got = min(100, size, len(self.loop))
        if not got:
            return StreamResult(TIMEOUT)
        for row in rows:
            row[:got] = self.loop[:got]
        self.loop = self.loop[got:]
        return StreamResult(got)


@pytest.fixture(autouse=True)
def soapy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("SoapySDR")
    module.Device = Device  # pyright: ignore
    monkeypatch.setitem(sys.modules, "SoapySDR", module)
    Device.made.clear()
    Device.absent = False
    yield


def opened(configuration: RadioConfiguration = CONFIGURATION) -> tuple[SoapyRadio, Device]:
    radio = open_soapy({"driver": "loop"}, configuration)
    assert isinstance(radio, SoapyRadio), radio
    return radio, Device.made[-1]


def test_samples_go_out_and_come_in_as_watts_at_the_antenna() -> None:
    radio, device = opened(replace(CONFIGURATION, receive_gain_db=30.0))
    assert isinstance(radio, Radio)
    samples = np.exp(2j * np.pi * np.arange(450) / 50) * 1.5
    radio.transmit(samples)
    np.testing.assert_allclose(np.abs(device.loop), 0.75, rtol=1e-6)
    np.testing.assert_allclose(radio.receive(450), samples, rtol=1e-6)
    assert (device.frequency, device.gain, len(device.active)) == (3.5e9, 30.0, 2)
    radio.close()
    radio.close()
    assert device.active == set()


def test_several_antennas_are_rows() -> None:
    radio, _ = opened(replace(CONFIGURATION, receive_antennas=2))
    radio.transmit(np.ones(10))
    assert radio.receive(10).shape == (2, 10)


def test_an_overflow_is_counted_and_the_rest_read() -> None:
    radio, device = opened()
    radio.transmit(np.ones(30))
    device.script = [OVERFLOW, OVERFLOW]
    np.testing.assert_allclose(radio.receive(30), 1.0)
    assert radio.overflows == 2


@pytest.mark.parametrize(("code", "words"), [(TIMEOUT, "did not answer within"), (STREAM_ERROR, "error -2")])
def test_a_device_that_fails_is_lost(code: int, words: str) -> None:
    radio, device = opened()
    device.script = [code]
    with pytest.raises(RadioLost, match=words):
        radio.receive(10)
    with pytest.raises(RadioLost, match="the radio is gone"):
        radio.transmit(np.ones(10))


def test_a_driver_that_hangs_is_given_up() -> None:
    radio, device = opened(replace(CONFIGURATION, timeout_s=0.05))
    device.hang = threading.Event()
    with pytest.raises(RadioLost, match="receiving took longer than"):
        radio.receive(10)
    device.hang.set()
    radio.close()


def test_a_radio_that_was_unplugged_is_opened_again() -> None:
    now = [0.0]
    radio = RecoveringRadio(
        lambda: open_soapy({"driver": "loop"}, CONFIGURATION), CONFIGURATION, retry_s=1.0, clock=lambda: now[0]
    )
    radio.transmit(np.ones(10))
    np.testing.assert_allclose(radio.receive(10), 1.0)
    Device.made[-1].script = [STREAM_ERROR]
    Device.absent = True
    with pytest.raises(RadioLost, match="error -2"):
        radio.receive(10)
    with pytest.raises(RadioLost, match="not looked for yet"):
        radio.receive(10)
    now[0] = 1.5
    with pytest.raises(RadioLost, match="no match"):
        radio.receive(10)
    Device.absent, now[0] = False, 3.0
    radio.transmit(np.ones(10))
    np.testing.assert_allclose(radio.receive(10), 1.0)
    assert radio.losses == 1 and len(Device.made) == 2
    radio.close()


def test_what_a_device_cannot_do_is_named() -> None:
    with pytest.raises(RadioError, match=r"sample_rate_hz: 1e\+09; accepted: 5e\+07"):
        opened(replace(CONFIGURATION, sample_rate_hz=1e9))
    few = open_soapy({"driver": "loop"}, replace(CONFIGURATION, transmit_antennas=4))
    assert isinstance(few, Missing) and few.why == "it has 2 channels to transmit, and 4 are asked for"
    absent = open_soapy({"driver": "other"}, CONFIGURATION)
    assert isinstance(absent, Missing) and "no match" in absent.why
    radio, _ = opened()
    with pytest.raises(RadioError, match="samples: 5 times the full scale"):
        radio.transmit(np.full(10, 10.0))


def test_devices_are_listed() -> None:
    devices = soapy_devices()
    assert devices and (devices[0].driver, devices[0].label) == ("loop", "a loop")


def test_without_the_module_everything_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SoapySDR", None)
    for found in (soapy_devices(), open_soapy({"driver": "loop"}, CONFIGURATION)):
        assert isinstance(found, Missing) and "python3-soapysdr" in found.why


def test_the_real_module_lists_and_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "SoapySDR")
    if importlib.util.find_spec("SoapySDR") is None:
        pytest.skip("SoapySDR's Python module is not installed")
    assert isinstance(soapy_devices(), tuple)
    null = open_soapy({"driver": "null"}, CONFIGURATION)
    assert isinstance(null, Missing) and null.why == "it has 0 channels to transmit, and 1 are asked for"
    nothing = open_soapy({"driver": "nothing"}, CONFIGURATION)
    assert isinstance(nothing, Missing) and "no match" in nothing.why
