"""The grid of an OFDM frame, and what it can resolve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import IsacError

SPEED_OF_LIGHT = 299_792_458.0
"""m/s."""
SYMBOLS_OF_A_SLOT = 14
SUBCARRIERS_OF_A_BLOCK = 12
_SPACING_HZ = 15e3
_PREFIX_SHARE = 144 / 2048
"""Of a symbol, with the normal cyclic prefix (3GPP TS 38.211, 5.3.1; each half subframe's first one is longer)."""


@dataclass(frozen=True)
class Numerology:
    """An OFDM frame that is sensed coherently (one processing interval).

    Attributes:
        carrier_hz: centre frequency.
        subcarrier_spacing_hz: between neighbours.
        subcarriers: N of the grid.
        symbols: M of the grid: OFDM symbols of the frame.
        cyclic_prefix_s: that precedes each symbol.
    """

    carrier_hz: float
    subcarrier_spacing_hz: float
    subcarriers: int
    symbols: int
    cyclic_prefix_s: float

    def __post_init__(self) -> None:
        """Refuse what is no grid.

        Raises:
            IsacError: a field is out of its range.
        """
        for name in ("carrier_hz", "subcarrier_spacing_hz"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise IsacError(f"numerology.{name} = {value!r}; accepted: a finite number above 0")
        for name in ("subcarriers", "symbols"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise IsacError(f"numerology.{name} = {value!r}; accepted: a whole number of at least 1")
        if not (math.isfinite(self.cyclic_prefix_s) and self.cyclic_prefix_s >= 0):
            raise IsacError(f"numerology.cyclic_prefix_s = {self.cyclic_prefix_s!r}; accepted: a finite number from 0")

    @classmethod
    def new_radio(
        cls, carrier_hz: float, mu: int, resource_blocks: int, symbols: int = SYMBOLS_OF_A_SLOT
    ) -> Numerology:
        """Return the grid of 5G New Radio (3GPP TS 38.211, 4.2): ``15 * 2**mu`` kHz, normal cyclic prefix.

        Raises:
            IsacError: ``mu`` is not 0 to 6, or a count is below 1.
        """
        if mu not in range(7):
            raise IsacError(f"numerology.mu = {mu!r}; accepted: 0 to 6")
        spacing = _SPACING_HZ * 2**mu
        return cls(carrier_hz, spacing, SUBCARRIERS_OF_A_BLOCK * resource_blocks, symbols, _PREFIX_SHARE / spacing)

    @property
    def bandwidth_hz(self) -> float:
        """B of the grid."""
        return self.subcarriers * self.subcarrier_spacing_hz

    @property
    def symbol_s(self) -> float:
        """Ts: a symbol with its cyclic prefix."""
        return 1 / self.subcarrier_spacing_hz + self.cyclic_prefix_s

    @property
    def slot_s(self) -> float:
        """Fourteen symbols."""
        return SYMBOLS_OF_A_SLOT * self.symbol_s

    @property
    def frame_s(self) -> float:
        """T: all symbols."""
        return self.symbols * self.symbol_s

    @property
    def wavelength_m(self) -> float:
        """Of the carrier."""
        return SPEED_OF_LIGHT / self.carrier_hz

    @property
    def range_resolution_m(self) -> float:
        """c / 2B."""
        return SPEED_OF_LIGHT / (2 * self.bandwidth_hz)

    @property
    def velocity_resolution_m_per_s(self) -> float:
        """lambda / 2T."""
        return self.wavelength_m / (2 * self.frame_s)

    @property
    def unambiguous_range_m(self) -> float:
        """c / (2 df): ranges are told modulo this."""
        return SPEED_OF_LIGHT / (2 * self.subcarrier_spacing_hz)

    @property
    def prefix_range_m(self) -> float:
        """c Tcp / 2: an echo from beyond it leaks from one symbol into the next."""
        return SPEED_OF_LIGHT * self.cyclic_prefix_s / 2

    @property
    def unambiguous_velocity_m_per_s(self) -> float:
        """lambda / (4 Ts): velocities are told within plus and minus this."""
        return self.wavelength_m / (4 * self.symbol_s)

    @cached_property
    def frequencies_hz(self) -> NDArray[np.float64]:
        """[N] of the subcarriers about the carrier, on which subcarrier N // 2 lies."""
        return _fixed((np.arange(self.subcarriers) - self.subcarriers // 2) * self.subcarrier_spacing_hz)

    @cached_property
    def times_s(self) -> NDArray[np.float64]:
        """[M] of the symbols, from the first one."""
        return _fixed(np.arange(self.symbols) * self.symbol_s)


def _fixed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values that nobody changes: they are kept for all callers."""
    values.flags.writeable = False
    return values
