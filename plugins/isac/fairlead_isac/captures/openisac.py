"""Range-Doppler and micro-Doppler maps recorded with OpenISAC (USRP radios, OFDM; Zhou et al., github OpenISAC).

The files hold decibels and no axes: those are the recording program's own (its plotting script says them), as
:class:`Recording`'s defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import IsacError
from ..physics.numerology import SPEED_OF_LIGHT
from .matlab import read_matlab
from .problems import BadCapture
from .surface import Axis, Surface


@dataclass(frozen=True, slots=True)
class Recording:
    """How maps were recorded.

    Attributes:
        bandwidth_hz: B.
        transform: samples of a symbol without its prefix.
        prefix: samples of the cyclic prefix.
        symbols: of a processing interval.
        stride: only every so many-th symbol is used.
        range_padding: range cells per 1 / B.
        hop: symbols (of those used) from one column of a micro-Doppler map to the next.
        carrier_hz: tells velocities; None: shifts are given in Hz.
        bistatic: receiver and sender stand apart: ranges are of the whole way beyond the direct one; None: if the
            file's name says so.
    """

    bandwidth_hz: float = 50e6
    transform: int = 1024
    prefix: int = 128
    symbols: int = 100
    stride: int = 20
    range_padding: int = 10
    hop: int = 64
    carrier_hz: float | None = None
    bistatic: bool | None = None

    @property
    def rate_hz(self) -> float:
        """Of the symbols that are used: shifts are told within plus and minus half of it."""
        return self.bandwidth_hz / ((self.transform + self.prefix) * self.stride)

    def __post_init__(self) -> None:
        """Refuse what no radio records.

        Raises:
            IsacError: a field is not above 0.
        """
        for name in ("bandwidth_hz", "transform", "symbols", "stride", "range_padding", "hop"):
            if not getattr(self, name) > 0:
                raise IsacError(f"recording.{name} = {getattr(self, name)!r}; accepted: above 0")
        if self.carrier_hz is not None and not self.carrier_hz > 0:
            raise IsacError(f"recording.carrier_hz = {self.carrier_hz!r}; accepted: above 0, or none")


def read_openisac(path: Path, recording: Recording = Recording()) -> Surface:
    """Map of a file with ``rd_map`` [ranges, shifts] or ``md_map`` [shifts, times], in dB.

    Raises:
        BadCapture: no MATLAB file, no such variable, or one that is no map.
    """
    found = read_matlab(path)
    if "rd_map" in found:
        return _range_doppler(path, _decibels(path, "rd_map", found["rd_map"]), recording)
    if "md_map" in found:
        return _micro_doppler(path, _decibels(path, "md_map", found["md_map"]), recording)
    raise BadCapture(path, "variables", ", ".join(sorted(found)) or "none", "rd_map or md_map, a real matrix")


def _range_doppler(path: Path, levels: NDArray[np.float64], recording: Recording) -> Surface:
    delays = np.arange(levels.shape[0]) / (recording.bandwidth_hz * recording.range_padding)
    padding = recording.range_padding, max(1, round(levels.shape[1] / recording.symbols))
    apart = "bistatic" in path.stem if recording.bistatic is None else recording.bistatic
    ways = Axis("Bistatic excess range", "m", delays * SPEED_OF_LIGHT)
    ranges = ways if apart else Axis("Range", "m", delays * SPEED_OF_LIGHT / 2)
    return Surface("range-Doppler", path.stem, levels, ranges, _shifts(levels.shape[1], recording), padding)


def _micro_doppler(path: Path, levels: NDArray[np.float64], recording: Recording) -> Surface:
    times = Axis("Time", "s", np.arange(levels.shape[1]) * recording.hop / recording.rate_hz)
    return Surface("micro-Doppler", path.stem, levels, _shifts(levels.shape[0], recording), times)


def _shifts(count: int, recording: Recording) -> Axis:
    shifts = (np.arange(count) - count // 2) * recording.rate_hz / count
    if recording.carrier_hz is None:
        return Axis("Doppler shift", "Hz", shifts)
    return Axis("Radial velocity", "m/s", shifts * SPEED_OF_LIGHT / (2 * recording.carrier_hz))


def _decibels(path: Path, name: str, values: NDArray[np.generic]) -> NDArray[np.float64]:
    if values.ndim != 2 or min(values.shape) < 8 or np.iscomplexobj(values):
        raise BadCapture(path, name, f"{values.dtype} {list(values.shape)}", "a real matrix of at least 8 x 8")
    levels = np.asarray(values, np.float64)
    wrong = ~(np.abs(levels) < 1000)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise BadCapture(path, f"{name}[{row}, {column}]", levels[row, column], "decibels between -1000 and 1000")
    return levels
