"""Range-Doppler maps of OFDM frames.

``y / x = sum alpha exp(-j 2 pi n df tau) exp(j 2 pi m Ts fD) + noise``: an inverse transform over the subcarriers and a
transform over the symbols gather a target in one cell (Sturm and Wiesbeck 2011, section IV).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError
from .numerology import SPEED_OF_LIGHT, Numerology
from .waveform import checked_grid

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Window = Literal["rectangular", "hann", "hamming", "blackman", "taylor"]
Equalizer = Literal["divide", "match"]
Indicator = Literal["none", "mean", "canceller"]
WINDOWS: tuple[str, ...] = ("rectangular", "hann", "hamming", "blackman", "taylor")


@dataclass(frozen=True, slots=True)
class Processing:
    """How a map is made.

    Attributes:
        windows: over subcarriers and symbols; side lobes fall, the main lobe widens and the peak loses SNR.
        padding: transforms are this many times as long as the data: finer cells, not a finer resolution.
        equalizer: ``divide`` by what was sent (no data side lobes; noise rises where little was sent), or ``match``:
            multiply by its conjugate (the likelihood's, for estimation and power that is not uniform).
        moving_targets: only they stay: ``mean`` subtracts each subcarrier's mean over the symbols, ``canceller`` takes
            differences of neighbouring symbols (a two-pulse canceller); ``none`` keeps all.
    """

    windows: tuple[Window, Window] = ("rectangular", "rectangular")
    padding: tuple[int, int] = (1, 1)
    equalizer: Equalizer = "divide"
    moving_targets: Indicator = "none"

    def __post_init__(self) -> None:
        """Refuse what there is not.

        Raises:
            IsacError: a word is not known or a padding is below 1.
        """
        for field, value, accepted in (
            ("windows", self.windows[0], WINDOWS),
            ("windows", self.windows[1], WINDOWS),
            ("equalizer", self.equalizer, ("divide", "match")),
            ("moving_targets", self.moving_targets, ("none", "mean", "canceller")),
        ):
            if value not in accepted:
                raise IsacError(f"processing.{field} = {value!r}; accepted: {', '.join(accepted)}")
        if min(self.padding) < 1:
            raise IsacError(f"processing.padding = {self.padding!r}; accepted: whole numbers from 1")


@dataclass(frozen=True)
class RangeDopplerMap:
    """A map.

    Attributes:
        values: complex [ranges, velocities]; noise has the power here that it had on the divided grid, so that a
            target's peak over the noise is its integrated SNR less the windows' losses.
        ranges_m: [ranges], from 0.
        velocities_m_per_s: [velocities], ascending, positive where it comes nearer.
    """

    values: Complex
    ranges_m: Float
    velocities_m_per_s: Float

    @cached_property
    def power(self) -> Float:
        """|values|^2, [ranges, velocities]."""
        return self.values.real**2 + self.values.imag**2

    @property
    def power_db(self) -> Float:
        """In dB, [ranges, velocities]."""
        return 10 * np.log10(np.maximum(self.power, np.finfo(np.float64).tiny))


def range_doppler_map(
    received: ArrayLike, sent: ArrayLike, numerology: Numerology, processing: Processing = Processing()
) -> RangeDopplerMap:
    """Map of a received grid.

    Args:
        received, sent: complex [N, M].
        numerology: of the grids.
        processing: windows, padding, moving targets.

    Raises:
        IsacError: a shape is not the grid's, or an element to divide by is 0.
    """
    grid = equalized(received, sent, numerology, processing.equalizer)
    return RangeDopplerMap(transformed(grid, processing), *axes(numerology, processing))


def equalized(received: ArrayLike, sent: ArrayLike, numerology: Numerology, how: Equalizer = "divide") -> Complex:
    """Take the data off: complex [N, M]. Elements on which nothing was sent hold nothing."""
    received, sent = checked_grid(received, numerology, "received"), checked_grid(sent, numerology, "sent")
    if how == "match":
        return received * sent.conj()
    empty = sent == 0
    if empty.any():
        return np.where(empty, 0, received / np.where(empty, 1, sent))
    return received / sent


def transformed(grid: Complex, processing: Processing) -> Complex:
    """Windows, moving-target indication, both transforms; complex [ranges, velocities], zero velocity in the middle."""
    grid = moving_only(grid, processing.moving_targets)
    count, symbols = grid.shape
    across, along = window(processing.windows[0], count), window(processing.windows[1], symbols)
    sizes = count * processing.padding[0], symbols * processing.padding[1]
    weighted = grid if processing.windows == ("rectangular", "rectangular") else grid * across[:, None] * along
    ranges = np.fft.ifft(weighted, sizes[0], axis=0, norm="forward")
    values = np.fft.fft(ranges, sizes[1], axis=1)
    values *= 1 / np.sqrt((across @ across) * (along @ along))
    return np.fft.fftshift(values, axes=1)


def axes(numerology: Numerology, processing: Processing) -> tuple[Float, Float]:
    """Ranges in m and velocities in m/s of a map's cells."""
    count, symbols = (size * pad for size, pad in zip(_shape(numerology), processing.padding, strict=True))
    ranges = np.arange(count) * (SPEED_OF_LIGHT / (2 * numerology.subcarrier_spacing_hz * count))
    shifts = np.fft.fftshift(np.fft.fftfreq(symbols, numerology.symbol_s))
    return ranges, shifts * numerology.wavelength_m / 2


def moving_only(grid: Complex, how: Indicator = "mean") -> Complex:
    """Moving-target indication over the symbols, complex [N, M] (Richards 2014, 5.2)."""
    if how == "mean":
        return grid - grid.mean(axis=1, keepdims=True)
    if how == "canceller":
        # Kept as long as the frame, so that axes stay: the last difference is left out.
        return np.pad(np.diff(grid, axis=1), ((0, 0), (0, 1))) / np.sqrt(2)
    return grid


@lru_cache(maxsize=32)
def window(name: str, length: int) -> Float:
    """[length], read-only; the periodic forms (Harris 1978), ``taylor`` with 4 equal side lobes 35 dB down."""
    phase = 2 * np.pi * np.arange(length) / max(length, 1)
    if name == "taylor":
        values = _taylor(length, 4, 35.0)
    else:
        first, second, third = {
            "rectangular": (1.0, 0.0, 0.0),
            "hann": (0.5, 0.5, 0.0),
            "hamming": (0.54, 0.46, 0.0),
            "blackman": (0.42, 0.5, 0.08),
        }[name]
        values = first - second * np.cos(phase) + third * np.cos(2 * phase)
    values.flags.writeable = False
    return values


def window_loss_db(name: str, length: int) -> float:
    """SNR that a target in the middle of a cell loses: ``N sum w^2 / (sum w)^2`` in dB."""
    values = window(name, length)
    return float(10 * np.log10(length * (values @ values) / values.sum() ** 2))


def _taylor(length: int, equal: int, below_db: float) -> Float:
    """Taylor's window (Carrara, Goodman and Majewski 1995, appendix D.2)."""
    a = np.arccosh(10 ** (below_db / 20)) / np.pi
    spread = equal**2 / (a**2 + (equal - 0.5) ** 2)
    orders = np.arange(1, equal)
    values = np.ones(length)
    where = (np.arange(length) - (length - 1) / 2) / length
    for m in orders:
        top = np.prod(1 - m**2 / (spread * (a**2 + (orders - 0.5) ** 2)))
        rest = orders[orders != m]
        values += -((-1) ** m) * top / np.prod(1 - m**2 / rest**2) * np.cos(2 * np.pi * m * where)
    return values


def _shape(numerology: Numerology) -> tuple[int, int]:
    return numerology.subcarriers, numerology.symbols
