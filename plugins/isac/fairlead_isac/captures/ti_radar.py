"""Raw samples of TI's millimetre-wave FMCW radars, stored by NumPy (as OpenRadar's).

I and Q are 16-bit numbers that some recorders store unsigned: what lies above 32767 is 65536 less.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from ..errors import IsacError
from ..physics.numerology import SPEED_OF_LIGHT
from ..physics.range_doppler import window
from .problems import BadCapture, content
from .surface import Axis, Surface

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
_BEAMS = 256


@dataclass(frozen=True, slots=True)
class ChirpProfile:
    """How a radar was set up; without it axes are told in cells.

    Attributes:
        start_hz: frequency at which a chirp begins.
        slope_hz_per_s: of its rise.
        sample_rate_hz: of the converter.
        interval_s: from one chirp of a transmitter to its next.
    """

    start_hz: float
    slope_hz_per_s: float
    sample_rate_hz: float
    interval_s: float

    def __post_init__(self) -> None:
        """Refuse what no radar does.

        Raises:
            IsacError: a field is not above 0.
        """
        for name in ("start_hz", "slope_hz_per_s", "sample_rate_hz", "interval_s"):
            if not getattr(self, name) > 0:
                raise IsacError(f"profile.{name} = {getattr(self, name)!r}; accepted: above 0")


@dataclass(frozen=True)
class Cube:
    """One frame: complex samples [chirps, antennas, samples]."""

    path: Path
    samples: Complex

    def ranges(self) -> Complex:
        """Range transform with a Hann window; the mean over the samples (the mixer's offset) is taken off."""
        samples = self.samples - self.samples.mean(axis=2, keepdims=True)
        return np.fft.fft(samples * window("hann", samples.shape[2]), axis=2)

    def range_doppler(self, moving_only: bool = False) -> Complex:
        """Complex [antennas, ranges, shifts], zero shift in the middle; ``moving_only`` takes each cell's mean off."""
        ranges = self.ranges()
        if moving_only:
            ranges = ranges - ranges.mean(axis=0)
        weights = window("hann", len(ranges))[:, None, None]
        return np.moveaxis(np.fft.fftshift(np.fft.fft(ranges * weights, axis=0), axes=0), 0, 2)

    def angles(self, cells: Sequence[tuple[int, int]], moving_only: bool = False) -> Float:
        """Angles in rad from broadside at cells (range, shift) of the map; NaN with one antenna.

        The highest of 256 beams of the virtual array, half a wavelength apart; which side is positive, the recording
        does not tell.
        """
        if self.samples.shape[1] < 2 or not cells:
            return np.full(len(cells), np.nan)
        rows, columns = np.transpose(cells)
        beams = np.abs(np.fft.fft(self.range_doppler(moving_only)[:, rows, columns], _BEAMS, axis=0))
        return np.arcsin(2 * np.fft.fftfreq(_BEAMS)[beams.argmax(axis=0)])

    def surface(self, profile: ChirpProfile | None = None, moving_only: bool = False) -> Surface:
        """Range-Doppler map, summed over the antennas without their phases."""
        values = self.range_doppler(moving_only)
        power = (values.real**2 + values.imag**2).mean(axis=0)
        floor = np.finfo(np.float64).tiny
        notes = ("static clutter removed",) if moving_only else ()
        axes = _axes(power.shape[0], power.shape[1], profile)
        return Surface("range-Doppler", self.path.stem, 10 * np.log10(power + floor), *axes, notes=notes)


def read_cube(path: Path) -> Cube:
    """Read a frame: complex [chirps, antennas, samples], or [chirps, samples] of one antenna.

    Raises:
        BadCapture: no NumPy file, cut off, of another shape or type, or with values beyond 16 bits.
    """
    try:
        values = np.load(io.BytesIO(content(path)), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, SyntaxError, TokenError) as error:
        if isinstance(error, IsacError):
            raise
        raise BadCapture(path, "array", str(error).splitlines()[0], "a whole .npy file with complex numbers") from error
    if not isinstance(values, np.ndarray) or not np.iscomplexobj(values):
        kind = getattr(values, "dtype", type(values).__name__)
        raise BadCapture(path, "dtype", kind, "complex64 or complex128")
    if values.ndim == 2:
        values = values[:, None, :]
    if values.ndim != 3 or min(values.shape[0], values.shape[2]) < 8:
        raise BadCapture(
            path, "shape", list(values.shape), "[chirps, antennas, samples], at least 8 chirps and samples"
        )
    return Cube(path, signed(path, values.real) + 1j * signed(path, values.imag))


def signed(path: Path, values: NDArray[np.floating]) -> Float:
    """Sixteen-bit numbers that were stored unsigned, with their sign."""
    if not (np.isfinite(values) & (values >= -32768) & (values <= 65535)).all():
        wrong = values[~(np.isfinite(values) & (values >= -32768) & (values <= 65535))].flat[0]
        raise BadCapture(path, "sample", wrong, "16-bit numbers: -32768 to 65535")
    return np.where(values > 32767, values - 65536, values).astype(np.float64)


def _axes(ranges: int, shifts: int, profile: ChirpProfile | None) -> tuple[Axis, Axis]:
    rows, columns = np.arange(ranges, dtype=np.float64), np.arange(shifts) - shifts // 2.0
    if profile is None:
        return Axis("Range cell", "", rows), Axis("Doppler cell", "", columns)
    swept = ranges / profile.sample_rate_hz * profile.slope_hz_per_s
    wavelength = SPEED_OF_LIGHT / (profile.start_hz + swept / 2)
    metres = rows * SPEED_OF_LIGHT / (2 * swept)
    speeds = columns * wavelength / (2 * shifts * profile.interval_s)
    return Axis("Range", "m", metres), Axis("Radial velocity", "m/s", speeds)
