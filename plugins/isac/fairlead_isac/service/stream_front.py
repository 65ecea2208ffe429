"""Looks over a radio that streams: the whole interval is sent as it is on air, and received at the same time.

Repeats and gaps are samples here: a device of 50 MHz is fast enough for a host, one of 400 MHz is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fairlead_bridge.radio.radio import Radio, RadioConfiguration, RadioError, RadioLost
from fairlead_bridge.reading import Missing

from ..errors import RadioUnavailable
from ..physics.numerology import Numerology
from ..requests.admission import Looks
from ..requests.request import Area
from ..scenario import Cell
from ..settings import Settings
from .front import Complex, Float

Opener = Callable[[RadioConfiguration], "Radio | Missing"]
CHUNK = 1 << 16


class StreamFront:
    """A radio with one sending antenna and receiving channels half a wavelength apart.

    Args:
        settings: of the workload; ``radio.delay_s`` is what the device itself adds between sending and receiving.
        cell: power and carrier.
        open_radio: opens the device at a sample rate.
    """

    def __init__(self, settings: Settings, cell: Cell, open_radio: Opener) -> None:
        self._settings, self._cell, self._open = settings, cell, open_radio
        self._channels = settings.radio.channels
        self._radio: Radio | None = None
        self._rate_hz = 0.0

    @property
    def centres(self) -> Float:
        """Phase centres of the channels, [channels] in wavelengths."""
        return (np.arange(self._channels) - (self._channels - 1) / 2) / 2

    def open(self) -> None:
        """Take the radio at the rate that was used last, or at that of the cell's whole band."""
        numerology = self._cell.numerology
        whole = _size(numerology) * numerology.subcarrier_spacing_hz
        self._at(self._rate_hz or whole)

    def close(self) -> None:
        """Give it back."""
        if self._radio is not None:
            self._radio.close()
            self._radio = None

    def look(self, sent: Complex, numerology: Numerology, looks: Looks, area: Area) -> Complex:
        """Send looks and receive them; see ``Front``. The beam is the antenna's own."""
        size = _size(numerology)
        rate = size * numerology.subcarrier_spacing_hz
        bins = (np.arange(numerology.subcarriers) - numerology.subcarriers // 2) % size
        spectrum = np.zeros((numerology.symbols, size), np.complex128)
        spectrum[:, bins] = sent.T
        amplitude = math.sqrt(self._cell.power_watts / numerology.subcarriers * size)
        periods = np.fft.ifft(spectrum, norm="ortho") * amplitude
        count, step = looks.repeats * looks.comb, round(looks.spacing_s * rate)
        frame = np.zeros((numerology.symbols, max(step, count * size)), np.complex128)
        frame[:, : count * size] = np.tile(periods, (1, count))
        received = self._through(frame.ravel(), rate).reshape(self._channels, numerology.symbols, -1)
        # The first period is the others' prefix; their sum has the noise of one.
        rest = received[..., size : count * size].reshape(self._channels, numerology.symbols, count - 1, size)
        heard = rest.sum(axis=2) / math.sqrt(count - 1)
        grid = np.fft.fft(heard, norm="ortho")[..., bins].transpose(0, 2, 1)
        # Whole samples of the device's delay are off already.
        delay_s = self._settings.radio.delay_s
        rest_s = delay_s - round(delay_s * rate) / rate
        return grid * np.exp(2j * np.pi * numerology.frequencies_hz * rest_s)[:, None]

    def _through(self, samples: Complex, rate_hz: float) -> Complex:
        """Send samples; what is received of them, [channels, samples], the device's own delay taken off."""
        radio = self._at(rate_hz)
        late = round(self._settings.radio.delay_s * rate_hz)
        padded = np.concatenate((samples, np.zeros(late, np.complex128)))
        parts = []
        try:
            for begin in range(0, len(padded), CHUNK):
                part = padded[begin : begin + CHUNK]
                radio.transmit(part)
                parts.append(np.atleast_2d(radio.receive(len(part))))
        except (RadioLost, RadioError) as error:
            self.close()
            raise RadioUnavailable(str(error)) from None
        return np.concatenate(parts, axis=1)[:, late:]

    def _at(self, rate_hz: float) -> Radio:
        if self._radio is not None and math.isclose(rate_hz, self._rate_hz):
            return self._radio
        self.close()
        configuration = RadioConfiguration(
            self._cell.numerology.carrier_hz,
            rate_hz,
            receive_antennas=self._channels,
            timeout_s=self._settings.radio.timeout_s,
        )
        try:
            found = self._open(configuration)
        except (RadioLost, RadioError) as error:
            raise RadioUnavailable(str(error)) from None
        if isinstance(found, Missing):
            raise RadioUnavailable(str(found))
        self._radio, self._rate_hz = found, rate_hz
        return found


def _size(numerology: Numerology) -> int:
    return 1 << (numerology.subcarriers * 5 // 4 - 1).bit_length()
