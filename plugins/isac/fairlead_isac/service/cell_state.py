"""The cell as the scheduler sees it: who is served over which fading channels, who is sensed, within which bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fairlead_bridge.radio.scene import ground_clutter

from ..collaboration.stage import Edge
from ..kpi.control import Control
from ..physics.arrays import steering
from ..physics.channel import evolve, gaussian, noise_power_watts, path_gain, radar_gain
from ..physics.numerology import SPEED_OF_LIGHT, Numerology
from ..physics.self_interference import residual_watts
from ..requests.admission import LOSS, accuracies
from ..scenario import Cell, Channels, Duplex, SensingNeed, Target, User
from ..settings import Settings
from ..settings import User as UserSettings
from .book import Entry

#: Ratio of the direct path's power to the scattered paths' (Rician K) of users' channels.
DIRECT = 4.0
USER_NOISE_FIGURE_DB = 7.0
#: Of clutter's power that a matched receiver spreads over all cells while data is sent: ``E|x|^4 - 1`` of 16-QAM.
SPREAD = 0.32
#: Of a frame in which nothing is sensed.
FRAME_S = 0.1


@dataclass(frozen=True, slots=True)
class Controls:
    """What is in force of what may be set while it runs."""

    sensing_share: tuple[float, float]
    power_watts: float
    stage: str | None
    duplex: Duplex | None
    weights: dict[str, float]

    @classmethod
    def of(cls, settings: Settings) -> Controls:
        """As the workload's config says."""
        bounds = (settings.sensing.minimum, settings.sensing.maximum)
        weights = {user.name: user.weight for user in settings.users}
        return cls(bounds, settings.cell.power_watts, settings.stage, settings.cell.duplex, weights)

    def with_(self, control: Control) -> Controls:
        """With what a control names."""
        low, high = self.sensing_share
        low = low if control.sensing_share_minimum is None else control.sensing_share_minimum
        high = high if control.sensing_share_maximum is None else control.sensing_share_maximum
        named = control.model_fields_set
        return Controls(
            (min(low, high), high),
            control.power_watts if control.power_watts is not None else self.power_watts,
            (None if control.stage == "any" else control.stage) if "stage" in named else self.stage,
            (None if control.duplex == "any" else control.duplex) if "duplex" in named else self.duplex,
            {**self.weights, **control.weights},
        )

    def body(self) -> dict[str, object]:
        """As JSON."""
        return {
            "sensing_share_minimum": self.sensing_share[0],
            "sensing_share_maximum": self.sensing_share[1],
            "power_watts": self.power_watts,
            "stage": self.stage or "any",
            "duplex": self.duplex or "any",
            "weights": dict(self.weights),
        }


def cell_of(settings: Settings, frame_s: float = FRAME_S) -> Cell:
    """The cell, with frames of about ``frame_s``."""
    asked = settings.cell
    mu = round(math.log2(asked.subcarrier_spacing_hz / 15e3))
    numerology = Numerology.new_radio(asked.carrier_hz, mu, asked.resource_blocks)
    numerology = replace(numerology, symbols=max(2, round(frame_s / numerology.symbol_s)))
    return Cell(
        asked.name,
        asked.antennas,
        asked.power_watts,
        _heard_figure_db(settings, numerology.bandwidth_hz),
        numerology,
        resource_blocks=asked.resource_blocks,
    )


def _heard_figure_db(settings: Settings, bandwidth_hz: float) -> float:
    """Noise figure with what is left of the cell's own signal, which is white: ``F + P / (SIC k T B)``."""
    residual = residual_watts(settings.cell.power_watts, settings.radio.self_interference_cancellation_db)
    own = residual / noise_power_watts(bandwidth_hz)
    return 10 * math.log10(10 ** (settings.cell.noise_figure_db / 10) + own)


def users_of(settings: Settings, controls: Controls) -> tuple[User, ...]:
    """Users as stages know them."""
    return tuple(
        User(user.name, controls.weights[user.name], user.min_rate_bits_per_s, user.max_delay_s, user.direction)
        for user in settings.users
    )


def target_of(entry: Entry, cell: Cell) -> Target:
    """What a request asks of a stage: the accuracies that were admitted."""
    along, across, _ = (value / math.sqrt(LOSS) for value in accuracies(entry.area, cell, entry.looks))
    asked = entry.requirements.horizontal_m is not None
    missed = entry.requirements.missed_detection
    return Target(
        entry.id,
        math.radians(entry.area.angle_degrees),
        entry.area.range_m,
        reflectivity=entry.area.rcs_m2,
        required=SensingNeed(
            range_std_m=along if asked else None,
            angle_std_rad=across / entry.area.range_m if asked else None,
            detection_probability=None if missed is None else 1 - missed,
            false_alarm=entry.requirements.false_alarm,
            refresh_s=entry.requirements.refresh_s,
        ),
    )


def edge_of(settings: Settings) -> Edge:
    """Server and backhaul as the collaborative stage knows them."""
    return Edge(**settings.edge.model_dump())


def frame_of(entries: list[Entry]) -> float:
    """Length of a frame: the shortest refresh that is asked for, a tenth of a second at most."""
    return min([FRAME_S, *(max(entry.looks.refresh_s, 1e-3) for entry in entries)])


class Fading:
    """Users' channels from moment to moment: a direct path and scattered ones that fade with the users' speed."""

    def __init__(self, settings: Settings, rng: np.random.Generator) -> None:
        self._settings, self._rng = settings, rng
        shape = (len(settings.users), settings.cell.antennas)
        self._scattered = gaussian(shape, rng)
        self._at: float | None = None
        self._clutter = clutter_of(settings)

    def channels(self, t: float, entries: list[Entry], cell: Cell) -> Channels:
        """As measured at ``t``; gains of targets are those of a frame that integrates over a request's refresh."""
        settings = self._settings
        step = 0.0 if self._at is None else max(0.0, t - self._at)
        self._at = t
        if step > 0:
            for at, user in enumerate(settings.users):
                doppler = user.speed_m_per_s * settings.cell.carrier_hz / SPEED_OF_LIGHT
                self._scattered[at] = evolve(self._scattered[at], doppler, step, self._rng)
        found = Channels(
            users=self._of(settings.users, "down"),
            user_names=_names(settings.users, "down"),
            noise_watts=noise_power_watts(cell.numerology.bandwidth_hz, USER_NOISE_FIGURE_DB),
            sensing_gains=np.array([_gain(entry, cell) for entry in entries]),
            target_names=tuple(entry.id for entry in entries),
            sensing_noise_watts=noise_power_watts(cell.numerology.bandwidth_hz, cell.noise_figure_db),
        )
        return self._with_uplink(found, cell) if _names(settings.users, "up") else found

    def _with_uplink(self, found: Channels, cell: Cell) -> Channels:
        """With users that send, and what the cell hears beside them: its residual, apart from noise, and clutter."""
        settings = self._settings
        return replace(
            found,
            sensing_noise_watts=noise_power_watts(cell.numerology.bandwidth_hz, settings.cell.noise_figure_db),
            uplink=self._of(settings.users, "up"),
            uplink_names=_names(settings.users, "up"),
            uplink_power_watts=np.array([user.send_watts for user in settings.users if user.direction == "up"]),
            cancellation_db=settings.radio.self_interference_cancellation_db,
            clutter_angles_rad=self._clutter[0],
            clutter_gains=self._clutter[1],
        )

    def _of(self, users: tuple[UserSettings, ...], direction: str) -> np.ndarray:
        return self._users(users)[[user.direction == direction for user in users]]

    def _users(self, users: tuple[UserSettings, ...]) -> np.ndarray:
        cell = self._settings.cell
        angles = np.radians([user.angle_degrees for user in users])
        direct = steering(angles, cell.antennas) * math.sqrt(DIRECT / (1 + DIRECT))
        gains = path_gain([max(user.distance_m, 1.0) for user in users] or [1.0], cell.carrier_hz, cell.path_exponent)
        gains = gains[: len(users)] / 10 ** (np.array([user.loss_db for user in users]) / 10)
        mixed = direct + self._scattered * math.sqrt(1 / (1 + DIRECT))
        return mixed * np.sqrt(gains)[:, None]


def clutter_of(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Angles in rad and two-way gains of the simulated radio's clutter, as far as data spreads it, float [C] each."""
    still = ground_clutter(settings.radio.clutter, settings.radio.seed)
    gains = [
        SPREAD * float(radar_gain(each.range_m, settings.cell.carrier_hz, each.cross_section_m2)) for each in still
    ]
    return np.array([each.angle_rad for each in still]), np.array(gains)


def _names(users: tuple[UserSettings, ...], direction: str) -> tuple[str, ...]:
    return tuple(user.name for user in users if user.direction == direction)


def _gain(entry: Entry, cell: Cell) -> float:
    numerology = cell.numerology
    frames = max(1.0, entry.looks.refresh_s / numerology.frame_s)
    return float(radar_gain(entry.area.range_m, numerology.carrier_hz, entry.area.rcs_m2)) * frames
