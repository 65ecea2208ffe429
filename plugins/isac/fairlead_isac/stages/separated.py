"""Separated stage: antennas and power of their own for users and for targets, and if need be bands of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from fairlead_isac.errors import IsacError
from fairlead_isac.scenario import Cell, ComplexArray, FloatArray, Target, User
from fairlead_isac.stages.beams import null_space
from fairlead_isac.stages.data import Fairness, block_data, needed_efficiency, shortfall, space_peak
from fairlead_isac.stages.decision import Dwell
from fairlead_isac.stages.roster import Plan, Roster
from fairlead_isac.stages.scene import Scene
from fairlead_isac.stages.sensing import needed_illumination
from fairlead_isac.stages.time_split import divide, target_weights

LEAST_NULLED = 1e-3
"""Share of a target's illumination that nulls towards users must leave, else the bands are parted."""


class SeparatedStage(Roster):
    """Two systems side by side. The radar's beam has nulls towards the users, or a band of its own.

    The radar does not know what users are sent, so that only its own beam's echoes count.

    Args:
        cell: who sends.
        users: to begin with.
        targets: to begin with.
        fairness: how users divide what is beyond their needs.
        antennas_sensing: share of the antennas that are the radar's (the last ones); at least one stays on each side.
        power_sensing: share of the power that is the radar's.
        band_sensing: share of the band that is the radar's; None: both use all of it, with nulls towards the users. It
            is a half where nulls are not possible: as many users as radar antennas, or gains that vary over the band.
    """

    name = "separated"

    def __init__(
        self,
        cell: Cell,
        users: Iterable[User] = (),
        targets: Iterable[Target] = (),
        fairness: Fairness = "balanced",
        antennas_sensing: float = 0.5,
        power_sensing: float = 0.5,
        band_sensing: float | None = None,
    ) -> None:
        super().__init__(cell, users, targets)
        if cell.antennas < 2:
            raise IsacError(f"cell {cell.name!r} has 1 antenna; stage 'separated' accepts: at least 2")
        for name, value in (("antennas_sensing", antennas_sensing), ("power_sensing", power_sensing)):
            _check_share(name, value)
        if band_sensing is not None:
            _check_share("band_sensing", band_sensing)
        self.fairness: Fairness = fairness
        self.radar_antennas = min(max(round(antennas_sensing * cell.antennas), 1), cell.antennas - 1)
        self.power_sensing, self.band_sensing = power_sensing, band_sensing

    def _plan(self, scene: Scene) -> Plan:
        split = scene.antennas - self.radar_antennas
        beams = self._radar_beams(scene, split)
        lit = (np.abs(beams.conj() * scene.steering).sum(axis=1) ** 2) if len(beams) else np.zeros(0)
        band = self._band(scene, lit)
        if band is not None:
            beams = self._aimed(scene, split, scene.steering[:, split:])
        return self._selective(scene, split, beams, band) if scene.selective else self._flat(scene, split, beams, band)

    def _band(self, scene: Scene, lit: FloatArray) -> float | None:
        """The radar's share of the band; None: all of it, for nulls are enough."""
        if self.band_sensing is not None or not scene.users or not scene.targets:
            return self.band_sensing
        most = self.radar_antennas * self.power_sensing * scene.budget.power_watts
        blind = scene.selective or len(scene.users) >= self.radar_antennas or lit.min() < LEAST_NULLED * most
        return 0.5 if blind else None

    def _radar_beams(self, scene: Scene, split: int) -> ComplexArray:
        """With nulls towards the users, complex [T, N] in sqrt(W)."""
        towards = scene.steering[:, split:]
        if scene.selective:
            return self._aimed(scene, split, towards)
        return self._aimed(scene, split, towards @ null_space(scene.channels[:, split:], self.radar_antennas).T)

    def _aimed(self, scene: Scene, split: int, directions: ComplexArray) -> ComplexArray:
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        power = self.power_sensing * scene.budget.power_watts
        scaled = np.divide(directions, lengths, out=np.zeros_like(directions), where=lengths > 1e-9) * np.sqrt(power)
        return np.pad(scaled, ((0, 0), (split, 0)))

    def _flat(self, scene: Scene, split: int, radar: ComplexArray, band: float | None) -> Plan:
        fallback, users = None, np.zeros((0, scene.antennas), np.complex128)
        data_band = 1.0 if band is None else 1.0 - band
        if scene.users:
            power = (1 - self.power_sensing) * scene.budget.power_watts
            noise = scene.noise_watts * data_band
            # Needs are of the whole band, rates are had in a part of it: as if it were that part of the time.
            found = space_peak(scene, scene.channels[:, :split], data_band, power, noise, self.fairness)
            users = np.pad(found.beamformers, ((0, 0), (0, scene.antennas - split)))
            fallback = shortfall(found, needed_efficiency(scene, data_band))
        names = tuple(user.name for user in scene.users)
        base = Dwell(1.0, users, names, echo_of_data=False)
        if band is not None:
            base = replace(base, data_band=data_band, sensing_band=band)
        if not scene.targets:
            return Plan((base,), f"{split} antennas for users", fallback)
        dwells = tuple(
            replace(
                base,
                fraction=float(part),
                beamformers=np.vstack([users, radar[at]]),
                stream_users=(*names, None),
                target=scene.targets[at].name,
            )
            for at, part in enumerate(self._parts(scene, radar))
            if part > 0
        )
        return Plan(dwells, self._reason(split, band), fallback)

    def _selective(self, scene: Scene, split: int, radar: ComplexArray, band: float | None) -> Plan:
        blocks = scene.channels.shape[1]
        own = 0 if band is None or not scene.targets else min(max(round(band * blocks), 1), max(blocks - 1, 1))
        base = self._block_dwell(scene, split, blocks - own)
        dwell, fallback, gap = base
        if not scene.targets:
            return Plan((dwell,), f"{split} antennas for users", fallback, gap)
        lights = np.zeros(blocks)
        lit = own if scene.users and own else blocks
        lights[blocks - lit :] = self.power_sensing * scene.budget.power_watts / lit
        unit = radar / np.maximum(np.linalg.norm(radar, axis=1, keepdims=True), 1e-300)
        assert dwell.power_watts is not None and dwell.share is not None
        dwells = tuple(
            replace(
                dwell,
                fraction=float(part),
                beamformers=np.concatenate([dwell.beamformers, np.broadcast_to(unit[at], (1, blocks, scene.antennas))]),
                stream_users=(*dwell.stream_users, None),
                power_watts=np.vstack([dwell.power_watts, lights]),
                share=np.vstack([dwell.share, lights > 0]),
                target=scene.targets[at].name,
            )
            for at, part in enumerate(self._parts(scene, radar))
            if part > 0
        )
        return Plan(dwells, self._reason(split, band), fallback, gap)

    def _block_dwell(self, scene: Scene, split: int, kept: int) -> tuple[Dwell, str | None, float]:
        blocks, names = scene.channels.shape[1], tuple(user.name for user in scene.users)
        if not scene.users:
            empty = np.zeros((0, blocks))
            beams = np.zeros((0, blocks, scene.antennas), np.complex128)
            return Dwell(1.0, beams, names, None, empty, empty, echo_of_data=False), None, 0.0
        own = scene.channels.copy()
        own[:, :, split:] = 0
        own[:, kept:] = 0
        power = (1 - self.power_sensing) * scene.budget.power_watts
        found = block_data(scene, needed_efficiency(scene), power, channels=own)
        return replace(found.dwell, echo_of_data=False), found.fallback, found.gap

    def _parts(self, scene: Scene, radar: ComplexArray) -> FloatArray:
        """Shares of time of the targets, float [T]."""
        lit = np.abs((radar.conj() * scene.steering).sum(axis=1)) ** 2
        wanted = needed_illumination(scene) / np.maximum(lit, 1e-30)
        return divide(wanted, 1.0, target_weights(scene))

    def _reason(self, split: int, band: float | None) -> str:
        apart = "nulls towards users" if band is None else f"{100 * band:.0f} % of the band"
        return f"{split} antennas for users, {self.radar_antennas} for targets with {apart}"


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise IsacError(f"{name} is {value!r}; accepted: a share between 0 and 1")
