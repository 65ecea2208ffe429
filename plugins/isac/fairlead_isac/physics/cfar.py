"""Detection in range-Doppler maps at a constant false-alarm rate (CFAR).

Noise cells of a map's power are exponentially distributed and, without padding and with rectangular windows,
independent: the false-alarm rate is then exact at whatever noise power.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError
from .detection import mean_factor, order_factor

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
_LADDER = np.concatenate((np.linspace(0.3, 0.9, 13), (0.95, 0.98, 0.995)))
"""Quantiles of a map between which an ordered training value is sought."""


@dataclass(frozen=True, slots=True)
class Cfar:
    """The window of a two-dimensional CFAR detector about the cell under test.

    Attributes:
        guard: resolution cells on each side (range, velocity) that the target's own main lobe may fill.
        training: resolution cells on each side beyond those, from which the noise is estimated.
        false_alarm: probability per cell.
        order: ``None``: mean of the training cells (CA-CFAR, for even noise); a share above 0 to 1: that quantile of
            them (OS-CFAR; 0.75 is usual), which other targets and clutter edges in the window disturb little.
    """

    guard: tuple[int, int] = (2, 2)
    training: tuple[int, int] = (8, 4)
    false_alarm: float = 1e-4
    order: float | None = None
    padding: tuple[int, int] = (1, 1)
    """Of the map's transforms: cells per resolution cell. Neighbours are alike then, and no more cells train."""

    def __post_init__(self) -> None:
        """Refuse what is no window.

        Raises:
            IsacError: a field is out of its range.
        """
        if min(self.guard) < 0 or min(self.training) < 0 or max(self.training) < 1:
            raise IsacError(f"cfar.guard = {self.guard}, training = {self.training}; accepted: from 0, one above 0")
        if not 0 < self.false_alarm < 1:
            raise IsacError(f"cfar.false_alarm = {self.false_alarm!r}; accepted: between 0 and 1")
        if self.order is not None and not 0 < self.order <= 1:
            raise IsacError(f"cfar.order = {self.order!r}; accepted: above 0 to 1, or none for the mean")
        if min(self.padding) < 1:
            raise IsacError(f"cfar.padding = {self.padding!r}; accepted: whole numbers from 1")

    @property
    def inner(self) -> tuple[int, int]:
        """Cells of the map on each side that are not training cells."""
        return self.guard[0] * self.padding[0], self.guard[1] * self.padding[1]

    @property
    def outer(self) -> tuple[int, int]:
        """Cells of the map on each side that the window reaches to."""
        return self.inner[0] + self.training[0] * self.padding[0], self.inner[1] + self.training[1] * self.padding[1]

    def independent(self, cells: int) -> int:
        """How many of the training cells differ."""
        return max(1, round(cells / (self.padding[0] * self.padding[1])))


def detect(power: ArrayLike, cfar: Cfar = Cfar()) -> Bool:
    """Cells above the threshold of their surroundings; bool [ranges, velocities].

    Velocities wrap around; at the first and last ranges fewer training cells are used, with their own threshold.

    Args:
        power: |values|^2 of a map, [ranges, velocities].
        cfar: the window.

    Raises:
        IsacError: the map is smaller than the window, or a value is negative or not finite.
    """
    power = checked_power(power, cfar)
    if cfar.order is None:
        total, count = training_sums(power, cfar)
        factors = {
            cells: mean_factor(cfar.false_alarm, cfar.independent(cells)) / cells for cells in set(count.tolist())
        }
        return power > total * np.array([factors[cells] for cells in count.tolist()])[:, None]
    return _ordered(power, cfar)


def exceeds(power: Float, cfar: Cfar, cells: NDArray[np.int64]) -> Bool:
    """Whether cells [K, 2] (row, column) are above their thresholds, as :func:`detect` says; [K].

    It costs less than the whole map where cells are few (the local maxima) and training values are ordered.
    """
    if cfar.order is None:
        return detect(power, cfar)[tuple(cells.T)]
    windows, places = _ordered_windows(len(power), cfar), tuple(cells.T)
    factors, level = windows.factor[cells[:, 0]], np.median(power)
    below = np.rint(training_sums((power < level).astype(np.float64), cfar)[0])[places]
    # Where fewer than rank training cells lie below the median, the ordered value is no less: most cells end here.
    found = power[places] > np.where(below < windows.rank[cells[:, 0]], level, 0) * factors
    found[found] = power[places][found] > factors[found] * ordered_values(power, cfar, cells[found])
    return found


def noise_at(power: Float, cfar: Cfar, cells: NDArray[np.int64]) -> Float:
    """Noise power that the detector takes for granted at cells [K, 2] (row, column); [K].

    OS-CFAR's ordered value is divided by its mean in exponential noise of power 1.
    """
    if cfar.order is None:
        total, count = training_sums(power, cfar)
        level = total[tuple(cells.T)] / count[cells[:, 0]]
    else:
        level = ordered_values(power, cfar, cells) / _ordered_windows(len(power), cfar).mean[cells[:, 0]]
    return np.maximum(level, np.finfo(np.float64).tiny)


def training_sums(power: Float, cfar: Cfar) -> tuple[Float, NDArray[np.int64]]:
    """Sums of the training cells [ranges, velocities] by integral images, and their number [ranges]."""
    wide = cfar.outer[1]
    image, rows, columns = _integral(power, wide), np.arange(len(power)), np.arange(power.shape[1]) + wide
    total, large = _boxes(image, rows, columns, cfar.outer)
    inner, small = _boxes(image, rows, columns, cfar.inner)
    # Rounding of large sums must not make a sum of nothing negative.
    return np.maximum(total - inner, 0), large - small


def ordered_values(power: Float, cfar: Cfar, cells: NDArray[np.int64]) -> Float:
    """OS-CFAR's ordered training value at cells [K, 2] (row, column); [K]."""
    windows, values = _ordered_windows(len(power), cfar), np.empty(len(cells))
    of_cell = windows.span[cells[:, 0]]
    for span in set(of_cell.tolist()):
        places = np.flatnonzero(of_cell == span)
        row, column = cells[places[0], 0], cells[places, 1:]
        offsets = _offsets(cfar, *_reach(row, len(power), cfar))
        training = power[cells[places, :1] + offsets[:, 0], (column + offsets[:, 1]) % power.shape[1]]
        rank = windows.rank[row]
        values[places] = np.partition(training, rank - 1, axis=1)[:, rank - 1]
    return values


def checked_power(power: ArrayLike, cfar: Cfar) -> Float:
    checked = np.asarray(power, np.float64)
    least = (cfar.outer[0] + 1, 2 * cfar.outer[1] + 1)
    if checked.ndim != 2 or len(checked) < least[0] or checked.shape[1] < least[1]:
        raise IsacError(f"power of shape {checked.shape}; accepted: at least {least} for this window (cfar)")
    if not (np.isfinite(checked) & (checked >= 0)).all():
        raise IsacError("power: a value is negative or not finite; accepted: finite values from 0")
    return checked


def _integral(power: Float, wrap: int) -> Float:
    """Integral image of the map with ``wrap`` velocities repeated on each side and a line of zeros before."""
    wide = np.pad(power, ((0, 0), (wrap, wrap)), mode="wrap") if wrap else power
    image = np.zeros((wide.shape[0] + 1, wide.shape[1] + 1))
    np.cumsum(wide, axis=0, out=image[1:, 1:])
    np.cumsum(image[1:, 1:], axis=1, out=image[1:, 1:])
    return image


def _boxes(
    image: Float, rows: NDArray[np.int64], columns: NDArray[np.int64], half: tuple[int, int]
) -> tuple[Float, NDArray[np.int64]]:
    low, high = np.maximum(rows - half[0], 0), np.minimum(rows + half[0] + 1, len(rows))
    lines = image[high] - image[low]
    left, right = columns[0] - half[1], columns[0] + half[1] + 1
    sums = lines[:, right : right + len(columns)] - lines[:, left : left + len(columns)]
    return sums, (high - low) * (2 * half[1] + 1)


@dataclass(frozen=True, slots=True)
class _OrderedWindows:
    """Of each range, [ranges]: kind of window, rank, threshold factor, mean of the ordered value in unit noise."""

    span: NDArray[np.int64]
    rank: NDArray[np.int64]
    factor: Float
    mean: Float


@lru_cache(maxsize=16)
def _ordered_windows(count: int, cfar: Cfar) -> _OrderedWindows:
    assert cfar.order is not None
    reaches = [_reach(row, count, cfar) for row in range(count)]
    kinds = {reach: index for index, reach in enumerate(dict.fromkeys(reaches))}
    sizes = {reach: len(_offsets(cfar, *reach)) for reach in kinds}
    ranks = {reach: max(1, round(cfar.order * cells)) for reach, cells in sizes.items()}
    true_ranks = {reach: max(1, round(cfar.order * cfar.independent(cells))) for reach, cells in sizes.items()}
    true_sizes = {reach: cfar.independent(cells) for reach, cells in sizes.items()}
    factors = {reach: order_factor(cfar.false_alarm, true_sizes[reach], true_ranks[reach]) for reach in kinds}
    means = {reach: float((1 / (true_sizes[reach] - np.arange(true_ranks[reach]))).sum()) for reach in kinds}
    columns = ([table[reach] for reach in reaches] for table in (kinds, ranks, factors, means))
    return _OrderedWindows(*map(np.array, columns))


def _ordered(power: Float, cfar: Cfar) -> Bool:
    """OS-CFAR without sorting most cells.

    The ordered training value is at least t where fewer than ``rank`` training cells lie below t: counts by integral
    images for a ladder of t bound it from both sides. Only cells between the bounds are looked at one by one.
    """
    windows = _ordered_windows(len(power), cfar)
    factor, rank = windows.factor[:, None], windows.rank[:, None]
    sure, possible = np.zeros(power.shape, bool), np.ones(power.shape, bool)
    for level in np.unique(np.quantile(power, _LADDER)):
        fewer = np.rint(training_sums((power < level).astype(np.float64), cfar)[0]) < rank
        above = power > factor * level
        possible &= ~fewer | above
        sure |= ~fewer & above
    unsure = np.argwhere(possible & ~sure)
    sure[tuple(unsure.T)] = exceeds(power, cfar, unsure)
    return sure


def _reach(row: int, count: int, cfar: Cfar) -> tuple[int, int]:
    """Ranges that the window has before and after a range."""
    return min(row, cfar.outer[0]), min(count - 1 - row, cfar.outer[0])


@lru_cache(maxsize=256)
def _offsets(cfar: Cfar, before: int, after: int) -> NDArray[np.int64]:
    """Training cells about a cell, [cells, 2]."""
    width = cfar.outer[1]
    lines, columns = np.mgrid[-before : after + 1, -width : width + 1]
    outside = (abs(lines) > cfar.inner[0]) | (abs(columns) > cfar.inner[1])
    return np.stack((lines[outside], columns[outside]), axis=1)
