"""The symbol's layer: which resource elements carry pilots and looks; all in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.layer import Answer, Observation, SolverFailed
from fairlead_isac.granularity.slot import SlotSetting
from fairlead_isac.physics.ambiguity import side_lobes
from fairlead_isac.physics.numerology import SPEED_OF_LIGHT, SYMBOLS_OF_A_SLOT, Numerology

#: Pilots are this much denser than sampling theory asks for, so that an interpolating filter has room.
OVERSAMPLING = 2.0
#: Points of a window's cut; elements of it (its shape hardly depends on how many there are).
CUT, ELEMENTS = 8192, 256


@dataclass(frozen=True, slots=True)
class Taper:
    """A window over the elements of a look, and what it costs and brings.

    Attributes:
        name: rectangular, hann, hamming or blackman.
        pslr_db, islr_db: of a point's cut over the range.
        loss_db: of SNR.
        widening: of the main lobe's half-power width against the rectangular one.
    """

    name: str
    pslr_db: float
    islr_db: float
    loss_db: float
    widening: float


@lru_cache(maxsize=1)
def tapers() -> tuple[Taper, ...]:
    """In order of the loss of SNR; side lobes come from each window's own transform."""
    position = 2.0 * np.pi * (np.arange(ELEMENTS) + 0.5) / ELEMENTS
    windows = {
        "rectangular": np.ones(ELEMENTS),
        "hamming": 0.54 - 0.46 * np.cos(position),
        "hann": 0.5 - 0.5 * np.cos(position),
        "blackman": 0.42 - 0.5 * np.cos(position) + 0.08 * np.cos(2.0 * position),
    }
    narrowest = _half_width(windows["rectangular"])
    return tuple(_taper(name, window, narrowest) for name, window in windows.items())


def _taper(name: str, window: NDArray[np.float64], narrowest: float) -> Taper:
    found = side_lobes(_cut(window))
    loss = 10.0 * math.log10(len(window) * float(window @ window) / float(window.sum()) ** 2)
    return Taper(name, found.pslr_db, found.islr_db, loss, _half_width(window) / narrowest)


def _cut(window: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(np.fft.fft(window / window.sum(), CUT)) ** 2


def _half_width(window: NDArray[np.float64]) -> float:
    cut = _cut(window)
    after = int(np.argmax(cut < 0.5))
    return after - 1 + (cut[after - 1] - 0.5) / (cut[after - 1] - cut[after])


@dataclass(frozen=True, slots=True)
class LookPattern:
    """The elements of a slot's looks at one target.

    Attributes:
        symbols: of the slot, 0 to 13.
        spacing: every so many-th subcarrier.
        offsets: first subcarrier in each of the symbols: staggered, so that together they leave no gap.
        taper: that the receiver applies over the subcarriers.
        unambiguous_range_m: of one symbol's comb, c / (2 df spacing).
        range_resolution_m: c / 2B, widened by the taper.
    """

    symbols: tuple[int, ...]
    spacing: int
    offsets: tuple[int, ...]
    taper: Taper
    unambiguous_range_m: float
    range_resolution_m: float

    def mask(self, subcarriers: int) -> NDArray[np.bool_]:
        """bool [subcarriers, 14]: the elements."""
        chosen = np.zeros((subcarriers, SYMBOLS_OF_A_SLOT), dtype=bool)
        for symbol, offset in zip(self.symbols, self.offsets, strict=True):
            chosen[offset :: self.spacing, symbol] = True
        return chosen


@dataclass(frozen=True, slots=True)
class PilotPattern:
    """Where data's channel is learned: every so many-th subcarrier and symbol.

    Attributes:
        subcarrier_spacing: at most 1 / (delay spread df OVERSAMPLING).
        symbol_spacing: at most 1 / (2 fD Ts OVERSAMPLING).
    """

    subcarrier_spacing: int
    symbol_spacing: int

    @property
    def overhead(self) -> float:
        """Share of data's elements."""
        return 1.0 / (self.subcarrier_spacing * self.symbol_spacing)


@dataclass(frozen=True, slots=True, eq=False)
class SymbolSetting:
    """Elements of a slot.

    Attributes:
        looks: by target.
        pilots: within the symbols of data.
        data_share: of the slot's elements, after looks and pilots.
    """

    looks: Mapping[str, LookPattern]
    pilots: PilotPattern
    data_share: float


class SymbolLayer:
    """Chooses combs, staggers, tapers and pilots of a slot's symbols.

    Targets share a look's symbol in no way: a beam points at one of them. A comb is as sparse as the farthest echo
    allows when only one symbol looks; the power of the symbol goes to its teeth, so energy and resolution stay, and the
    other teeth are free for the combs of neighbouring cells.

    Args:
        slot_s: its period: it decides all 14 symbols of a slot at once.
        farthest_m: from where echoes come.
        pslr_db: highest side lobe that is allowed over the range, below the peak.
        delay_spread_s, doppler_hz: of the users' channels.
        reuse: neighbouring cells, this one included, that look in the same symbols; 1: no comb is needed.
    """

    name = "symbol"

    def __init__(
        self,
        slot_s: float,
        farthest_m: float = 600.0,
        pslr_db: float = 13.0,
        delay_spread_s: float = 1e-6,
        doppler_hz: float = 200.0,
        reuse: int = 1,
    ) -> None:
        for name, value in (("farthest_m", farthest_m), ("delay_spread_s", delay_spread_s), ("doppler_hz", doppler_hz)):
            if not (math.isfinite(value) and value > 0.0):
                raise IsacError(f"{name} {value!r}; accepted: a finite number above 0")
        self.period_s, self.farthest_m, self.reuse = slot_s, farthest_m, reuse
        self.taper = _gentlest(pslr_db)
        self.delay_spread_s, self.doppler_hz = delay_spread_s, doppler_hz

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        """Place the slot's looks and pilots; SolverFailed without a slot's setting."""
        if not isinstance(above, SlotSetting):
            raise SolverFailed(f"the layer above set {type(above).__name__}; accepted: SlotSetting")
        numerology = observation.cell.numerology
        spacing, patterns = comb_spacing(numerology, self.farthest_m, self.reuse), dict[str, LookPattern]()
        first = 0
        for name, count in above.looks.items():
            symbols = tuple(range(first, first + count))
            patterns[name] = self._pattern(numerology, symbols, spacing)
            first += count
        pilots = pilot_pattern(numerology, self.delay_spread_s, self.doppler_hz)
        share = (1.0 - first / SYMBOLS_OF_A_SLOT) * (1.0 - pilots.overhead)
        return Answer(SymbolSetting(patterns, pilots, share), f"{first} symbols of looks, a comb of {spacing}")

    def default(self, observation: Observation) -> Answer:
        """Pilots in every second element of every symbol, no looks."""
        return Answer(SymbolSetting({}, PilotPattern(2, 1), 0.5), "dense pilots until there is a decision")

    def _pattern(self, numerology: Numerology, symbols: tuple[int, ...], spacing: int) -> LookPattern:
        return LookPattern(
            symbols,
            spacing,
            tuple(number % spacing for number in range(len(symbols))),
            self.taper,
            numerology.unambiguous_range_m / spacing,
            numerology.range_resolution_m * self.taper.widening,
        )


def comb_spacing(numerology: Numerology, farthest_m: float, reuse: int) -> int:
    """The comb that leaves room for ``reuse`` cells, as far as the farthest echo is unambiguous: c / (2 df spacing).

    Raises:
        IsacError: not even all subcarriers tell it.
    """
    most = math.floor(SPEED_OF_LIGHT / (2.0 * numerology.subcarrier_spacing_hz * farthest_m) + 1e-9)
    if most < 1:
        reach = numerology.unambiguous_range_m
        raise SolverFailed(f"farthest_m {farthest_m:g}; accepted: up to {reach:g}, where ranges are unambiguous")
    return min(most, reuse)


def pilot_pattern(numerology: Numerology, delay_spread_s: float, doppler_hz: float) -> PilotPattern:
    """Sampling theory over both axes, with OVERSAMPLING; at least one pilot symbol a slot."""
    across = 1.0 / (delay_spread_s * numerology.subcarrier_spacing_hz * OVERSAMPLING)
    along = 1.0 / (2.0 * doppler_hz * numerology.symbol_s * OVERSAMPLING)
    return PilotPattern(max(1, math.floor(across)), max(1, min(SYMBOLS_OF_A_SLOT, math.floor(along))))


def _gentlest(pslr_db: float) -> Taper:
    """The taper that loses least among those whose side lobes are low enough."""
    enough = [taper for taper in tapers() if taper.pslr_db >= pslr_db]
    if not enough:
        best = max(taper.pslr_db for taper in tapers())
        raise IsacError(f"pslr_db {pslr_db!r}; accepted: at most {best:.1f}")
    return min(enough, key=lambda taper: taper.loss_db)
