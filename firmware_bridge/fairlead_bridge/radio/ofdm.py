"""A plain OFDM modulator, for the check of a radio and for tests; needs numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Ofdm:
    """``subcarriers`` around the carrier in an FFT of ``size``; each of ``symbols`` begins with ``prefix`` samples."""

    size: int
    subcarriers: int
    symbols: int
    prefix: int

    @property
    def samples(self) -> int:
        """Of a frame."""
        return self.symbols * (self.size + self.prefix)

    def modulate(self, grid: Complex) -> Complex:
        """A frame: complex [subcarriers, symbols] to [samples], of the elements' power by sample where all are used."""
        spectrum = np.zeros((self.symbols, self.size), np.complex128)
        spectrum[:, self._bins()] = grid.T
        useful = np.fft.ifft(spectrum, norm="ortho")
        return np.concatenate([useful[:, self.size - self.prefix :], useful], axis=1).ravel()

    def demodulate(self, samples: Complex) -> Complex:
        """The inverse: complex [samples] to [subcarriers, symbols]."""
        useful = samples.reshape(self.symbols, -1)[:, self.prefix :]
        return np.fft.fft(useful, norm="ortho")[:, self._bins()].T

    def random_grid(self, rng: np.random.Generator, power_watts: float = 1.0) -> Complex:
        """QPSK elements of this power: complex [subcarriers, symbols]."""
        quarters = rng.integers(0, 4, (self.subcarriers, self.symbols))
        return np.sqrt(power_watts) * np.exp(0.5j * np.pi * (quarters + 0.5))

    def range_doppler(self, received: Complex, sent: Complex) -> NDArray[np.float64]:
        """Power over delay (bins of 1 / bandwidth) and Doppler shift (centred): [subcarriers, symbols].

        The channel at each element is ``received / sent``; an inverse FFT over subcarriers gives delays, an FFT over
        symbols Doppler shifts (Sturm and Wiesbeck 2011).
        """
        channel = received / sent
        delays = np.fft.ifft(channel * np.hanning(self.subcarriers)[:, None], axis=0)
        return np.abs(np.fft.fftshift(np.fft.fft(delays * np.hanning(self.symbols), axis=1), axes=1)) ** 2

    def _bins(self) -> NDArray[np.int64]:
        return (np.arange(self.subcarriers) - self.subcarriers // 2) % self.size
