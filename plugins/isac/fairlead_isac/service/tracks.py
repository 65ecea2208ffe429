"""Estimates of one target by several cells: what each has last, and what they come to together. Thread-safe."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..collaboration.fusion import Estimate as Plane
from ..collaboration.fusion import fuse, predicted, to_plane
from ..collaboration.letters import EstimateLine
from ..physics.arrays import half_power_width
from ..requests.admission import accuracies
from ..scenario import Cell
from ..settings import Settings, Site
from .book import Entry
from .cell_state import cell_of
from .estimate import Estimate, Fused

#: Estimates that are further apart in time are not brought together.
OLD_S = 2.0
#: Of the squared Mahalanobis distance of two estimates of one target (chi squared, 4 degrees of freedom, 99.9 %).
GATE = 18.47


@dataclass(frozen=True, slots=True)
class Standpoint:
    """From where a cell measures: where its array stands, and how many receiving channels tell angles."""

    cell: Cell
    site: Site
    channels: int


class Tracks:
    """The newest estimate of each target by each cell, in the plane that all cells share.

    Only requests that name one of the workload's targets, or a track, say that they are of the same thing. Receivers'
    noise is their own, so that errors are independent and information adds up.

    Args:
        at: from where this cell measures.
    """

    def __init__(self, at: Standpoint) -> None:
        self._at, self._lock = at, threading.Lock()
        self._mine: dict[str, Plane] = {}
        self._theirs: dict[str, dict[str, Plane]] = {}

    def hear(self, cell: str, lines: Mapping[str, EstimateLine]) -> None:
        """Take another cell's estimates; one that is older than what is known changes nothing."""
        with self._lock:
            for target, line in lines.items():
                known = self._theirs.setdefault(target, {}).get(cell)
                if known is None or line.unix_s > known.time_s:
                    self._theirs[target][cell] = line.estimate(cell)

    def lines(self, now_unix_s: float) -> dict[str, EstimateLine]:
        """This cell's own that are new enough to be told."""
        with self._lock:
            mine = {target: each for target, each in self._mine.items() if now_unix_s - each.time_s <= OLD_S}
        return {target: EstimateLine.of(each) for target, each in mine.items()}

    def refine(self, entry: Entry, estimate: Estimate) -> Estimate:
        """An estimate of this cell with what other cells add to it, where the request names a target."""
        target = entry.request.track or entry.request.target
        mine = None if target is None else self._plane(entry, estimate)
        if target is None or mine is None:
            return estimate
        with self._lock:
            self._mine[target] = mine
            theirs = list(self._theirs.get(target, {}).values())
        near = [predicted(each, mine.time_s) for each in theirs if abs(each.time_s - mine.time_s) <= OLD_S]
        agreeing = [each for each in near if distance(mine, each) <= GATE]
        unlike = tuple(sorted(each.cell for each in near if distance(mine, each) > GATE))
        return replace(estimate, fused=_fused([mine, *agreeing], unlike)) if near else estimate

    def _plane(self, entry: Entry, estimate: Estimate) -> Plane | None:
        """The strongest detection in the common plane; None where there is none whose bounds mean something."""
        first = next(iter(estimate.detections), None)
        if first is None or first.range_std_m is None or first.velocity_std_m_per_s is None:
            return None
        site = self._at.site
        return to_plane(
            self._at.cell.name,
            (site.x_m, site.y_m),
            math.radians(site.broadside_degrees),
            estimate.measured_unix_s,
            (first.range_m, math.radians(first.angle_degrees), first.velocity_m_per_s),
            (first.range_std_m, self._angle_std(entry, first.snr_db), first.velocity_std_m_per_s),
        )

    def _angle_std(self, entry: Entry, snr_db: float) -> float:
        """The bound that was admitted, at the SNR that was measured.

        C parts of an array tell an angle with C^2 / (C^2 - 1) of the variance of all its antennas; one part tells only
        that it is in the beam.
        """
        cell, parts = self._at.cell, self._at.channels
        if parts < 2:
            return half_power_width(cell.antennas) / math.sqrt(12.0)
        across = accuracies(entry.area, cell, entry.looks)[1] / entry.area.range_m
        stronger = 10 ** ((snr_db - entry.admission.integrated_snr_db) / 10)
        return across * math.sqrt(parts**2 / (parts**2 - 1) / stronger)


def tracks_of(settings: Settings, replica: int, channels: int) -> Tracks:
    """Of a cell whose settings are those at its site; without sites all cells stand at x = y = 0."""
    site = settings.sites[replica] if settings.sites else Site(name=settings.cell.name)
    return Tracks(Standpoint(cell_of(settings), site, channels))


def distance(first: Plane, second: Plane) -> float:
    """Squared Mahalanobis distance of two estimates that hold at one time."""
    apart = first.mean - second.mean
    return float(apart @ np.linalg.solve(first.covariance + second.covariance, apart))


def _fused(estimates: Iterable[Plane], unlike: tuple[str, ...]) -> Fused:
    listed = list(estimates)
    found = fuse(listed)
    x, y, vx, vy = (float(value) for value in found.mean)
    cells = tuple(sorted(each.cell for each in listed))
    return Fused(cells, x, y, vx, vy, found.position_std_m, unlike)
