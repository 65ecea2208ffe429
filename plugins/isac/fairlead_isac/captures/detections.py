"""Targets in a recorded range-Doppler map.

Real maps are not noise with points in it: a strong target's range side lobes fill its column, phase noise its row, and
what stands still fills the column of no shift. A cell counts only where it rises out of its own row and out of its own
column: two one-dimensional CFAR detectors agree on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import IsacError
from ..physics.cfar import Cfar, checked_power, exceeds, noise_at
from ..physics.peaks import local_maxima, refined_place
from .surface import Surface

_LINES_FALSE_ALARM = 1e-3


@dataclass(frozen=True, slots=True)
class Search:
    """How targets are sought.

    Attributes:
        false_alarm: of each of the two detectors, per cell of noise.
        guard: resolution cells on each side that a target fills, along range and Doppler.
        training: resolution cells beyond, on each side, along range and Doppler.
        order: quantile of the training cells that stands for the noise (OS-CFAR); None: their mean.
        apart: resolution cells (range, Doppler) within which only the strongest peak counts.
        dynamic_db: peaks that much below the strongest are taken for its remains.
        most: at most so many targets, the strongest.
    """

    false_alarm: float = 1e-5
    guard: tuple[int, int] = (2, 3)
    training: tuple[int, int] = (24, 20)
    order: float | None = 0.75
    apart: tuple[int, int] = (2, 3)
    dynamic_db: float = 60.0
    most: int = 30


@dataclass(frozen=True, slots=True)
class Detection:
    """A target.

    Attributes:
        row, column: place along the map's axes, in their units.
        level_db: of the peak.
        snr_db: over the greater of the two noise estimates.
        moving: its shift is more than one resolution cell away from none.
        angle_rad: from broadside, where an array recorded it.
    """

    row: float
    column: float
    level_db: float
    snr_db: float
    moving: bool
    angle_rad: float | None = None


def detections(surface: Surface, search: Search = Search()) -> list[Detection]:
    """Targets of a range-Doppler map, strongest first.

    Raises:
        IsacError: the map is of another kind, or too small for the windows.
    """
    if surface.kind != "range-Doppler":
        raise IsacError(f"kind = {surface.kind!r}; accepted: range-Doppler, in which targets are points")
    power = surface.power
    windows = [_window(surface, search, axis) for axis in (0, 1)]
    cells = np.argwhere(local_maxima(power) & (surface.power_db > surface.power_db.max() - search.dynamic_db))
    for each in windows:
        cells = cells[exceeds(checked_power(power, each), each, cells)]
    cells = cells[np.argsort(-power[tuple(cells.T)], kind="stable")]
    cells = cells[_alone(cells, surface, search)][: search.most]
    noise = np.max([noise_at(power, each, cells) for each in windows], axis=0) if len(cells) else np.zeros(0)
    return [
        _described(surface, int(row), int(column), level) for (row, column), level in zip(cells, noise, strict=True)
    ]


def doppler_lines(surface: Surface, search: Search = Search()) -> list[Detection]:
    """Shifts that last over a micro-Doppler map (rotors, a body), strongest first, from its mean power over time.

    Their column is the last time. A mean over times varies far less than the exponential cells for which thresholds
    hold: they are on the safe side, at one false alarm in a thousand.

    Raises:
        IsacError: the map is of another kind, or has too few shifts.
    """
    if surface.kind != "micro-Doppler":
        raise IsacError(f"kind = {surface.kind!r}; accepted: micro-Doppler, whose rows are shifts")
    mean = surface.power.mean(axis=1, keepdims=True)
    cfar = Cfar((search.guard[1], 0), (search.training[1], 0), _LINES_FALSE_ALARM, search.order)
    power = checked_power(mean, cfar)
    cells = np.argwhere(local_maxima(power))
    cells = cells[exceeds(power, cfar, cells)]
    cells = cells[np.argsort(-power[tuple(cells.T)], kind="stable")][: search.most]
    last = float(surface.columns.values[-1])
    found = []
    for (row, _), noise in zip(cells.tolist(), noise_at(power, cfar, cells), strict=True):
        shift, level = surface.rows.at(refined_place(power, row, 0)[0]), 10 * float(np.log10(power[row, 0]))
        moving = abs(shift) > surface.rows.step
        found.append(Detection(shift, last, level, level - 10 * float(np.log10(noise)), moving))
    return found


def _window(surface: Surface, search: Search, axis: int) -> Cfar:
    def along(lengths: tuple[int, int]) -> tuple[int, int]:
        return (lengths[0], 0) if axis == 0 else (0, lengths[1])

    size = surface.power_db.shape[axis] // surface.padding[axis]
    room = (size - 1) // 2 - search.guard[axis] if axis else size - 1 - search.guard[axis]
    if room < 2:
        accepted = f"at least {2 * search.guard[axis] + 5}"
        raise IsacError(f"map of {size} resolution cells along axis {axis}; accepted: {accepted}")
    training = (min(search.training[0], room), min(search.training[1], room))
    return Cfar(along(search.guard), along(training), search.false_alarm, search.order, surface.padding)


def _alone(cells: NDArray[np.int64], surface: Surface, search: Search) -> list[int]:
    """Peaks with no stronger one near; cells come strongest first."""
    reach = np.multiply(search.apart, surface.padding)
    kept: list[int] = []
    for index, cell in enumerate(cells):
        if not any((np.abs(cell - cells[other]) <= reach).all() for other in kept):
            kept.append(index)
    return kept


def _described(surface: Surface, row: int, column: int, noise: float) -> Detection:
    place = refined_place(surface.power, row, column)
    shift = surface.columns.at(place[1])
    level = float(surface.power_db[row, column])
    moving = abs(shift) > surface.columns.step * surface.padding[1]
    return Detection(surface.rows.at(place[0]), shift, level, float(level - 10 * np.log10(noise)), bool(moving))
