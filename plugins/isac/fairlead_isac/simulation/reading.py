"""A moving scenario as a user writes it: keys of a YAML file, checked, and made into what `simulate` takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fairlead_agent.plugin import checked
from fairlead_isac.captures.bandwidth import read_bandwidth
from fairlead_isac.errors import IsacError
from fairlead_isac.physics.numerology import SUBCARRIERS_OF_A_BLOCK, SYMBOLS_OF_A_SLOT, Numerology
from fairlead_isac.scenario import Cell, SensingNeed, User
from fairlead_isac.settings import Cell as CellSettings
from fairlead_isac.simulation.mobility import Mobility, Recorded, Still, Straight, Waypoints
from fairlead_isac.simulation.scenario import MovingScenario, MovingTarget, MovingUser, street
from fairlead_isac.simulation.traces import RateTrace, available_traces, made_trace

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Pair = tuple[float, float]


class StillPath(BaseModel):
    """Stays."""

    model_config = _FROZEN

    kind: Literal["still"]
    at_m: Pair = Field(description="x along the cell's broadside, y across, from the cell.")

    def mobility(self, seconds: float, rng: np.random.Generator) -> Mobility:
        """As the simulation takes it."""
        return Still(*self.at_m)


class StraightPath(BaseModel):
    """Back and forth."""

    model_config = _FROZEN

    kind: Literal["straight"]
    start_m: Pair
    end_m: Pair
    speed_m_per_s: float = Field(gt=0, le=500)
    phase_s: float = Field(default=0.0, ge=0, description="How long it has been on its way.")

    def mobility(self, seconds: float, rng: np.random.Generator) -> Mobility:
        """As the simulation takes it."""
        return Straight(self.start_m, self.end_m, self.speed_m_per_s, self.phase_s)


class WaypointsPath(BaseModel):
    """From one random point to the next."""

    model_config = _FROZEN

    kind: Literal["waypoints"]
    x_m: Pair
    y_m: Pair
    speeds_m_per_s: Pair

    def mobility(self, seconds: float, rng: np.random.Generator) -> Mobility:
        """As the simulation takes it."""
        return Waypoints((*self.x_m, *self.y_m), self.speeds_m_per_s, seconds, rng)


class RecordedPath(BaseModel):
    """Points at times."""

    model_config = _FROZEN

    kind: Literal["recorded"]
    times_s: tuple[float, ...] = Field(min_length=2)
    points_m: tuple[Pair, ...] = Field(min_length=2)

    def mobility(self, seconds: float, rng: np.random.Generator) -> Mobility:
        """As the simulation takes it."""
        return Recorded(self.times_s, self.points_m)


Route = Annotated[StillPath | StraightPath | WaypointsPath | RecordedPath, Field(discriminator="kind")]


class UserEntry(BaseModel):
    """Who is sent data."""

    model_config = _FROZEN

    name: str = Field(pattern=_NAME)
    path: Route
    trace: str | None = Field(
        default=None, max_length=4096, description="A file of two columns (s, Mbit/s), or 'made'. null: by distance."
    )
    mean_snr_db: float = Field(default=12.0, ge=-20, le=60, description="At the trace's mean rate.")
    weight: float = Field(default=1.0, gt=0, le=1e6)
    min_rate_bits_per_s: float = Field(default=0.0, ge=0, le=1e12)


class TargetEntry(BaseModel):
    """What is sensed, and how well."""

    model_config = _FROZEN

    name: str = Field(pattern=_NAME)
    path: Route
    rcs_m2: float = Field(default=1.0, gt=0, le=1e6)
    weight: float = Field(default=1.0, gt=0, le=1e6)
    position_std_m: float | None = Field(default=0.3, gt=0)
    velocity_std_m_per_s: float | None = Field(default=None, gt=0)
    velocity_resolution_m_per_s: float | None = Field(default=0.5, gt=0)
    detection_probability: float | None = Field(default=0.98, gt=0, lt=1)
    false_alarm: float | None = Field(default=1e-6, gt=0, lt=1)
    refresh_s: float = Field(default=0.1, gt=0, le=3600)


class Street(BaseModel):
    """The ready-made scenario."""

    model_config = _FROZEN

    users: int = Field(default=6, ge=0, le=64)
    targets: int = Field(default=8, ge=0, le=64)


class ScenarioFile(BaseModel):
    """All keys of a scenario's file."""

    model_config = _FROZEN

    seed: int = Field(default=1, ge=0, description="Of paths and fading.")
    seconds: float = Field(default=5.0, gt=0, le=86400, description="Simulated time.")
    policy: Literal["multi-granularity", "slot", "slot-paced", "coarse"] = "multi-granularity"
    bits_per_refresh: float = Field(
        default=5e5,
        ge=0,
        le=1e15,
        description="What a refresh interval in which all needs of a target are met is worth.",
    )
    most_sensing: float = Field(default=0.5, ge=0, le=1, description="Share of time that sensing may take.")
    street: Street | None = Field(default=None, description="The ready-made scenario, instead of users and targets.")
    cell: CellSettings = Field(default_factory=CellSettings)
    users: tuple[UserEntry, ...] = Field(default=(), max_length=64)
    targets: tuple[TargetEntry, ...] = Field(default=(), max_length=64)
    fading_speed_m_per_s: float = Field(default=8.0, ge=0, le=500)
    delay_spread_s: float = Field(default=3e-7, ge=0, le=1e-4)
    cancellation_db: float | None = Field(default=None, ge=0, le=200)


def read_scenario(content: Mapping[str, Any], folder: Path | None = None) -> tuple[ScenarioFile, MovingScenario]:
    """Check a scenario's keys and make it.

    Args:
        content: of the file.
        folder: that traces' paths are relative to; None: the working directory.

    Raises:
        IsacError: one line that names each bad key, its value and what is accepted; or a trace's file and line.
    """
    read = checked(ScenarioFile, dict(content), "scenario", IsacError)
    if read.street is not None and (read.users or read.targets):
        raise IsacError("scenario.street: users and targets are given, too; accepted: one of both")
    return read, _ready_made(read) if read.street is not None else _own(read, folder or Path())


def _ready_made(read: ScenarioFile) -> MovingScenario:
    assert read.street is not None
    traces = available_traces(max(1, read.street.users), read.seconds, np.random.default_rng(read.seed))
    return street(read.seed, read.seconds, traces, read.street.users, read.street.targets)


def _own(read: ScenarioFile, folder: Path) -> MovingScenario:
    rng = np.random.default_rng(read.seed)
    users = tuple(_user(entry, read.seconds, folder, rng) for entry in read.users)
    targets = tuple(_target(entry, read.seconds, rng) for entry in read.targets)
    return MovingScenario(
        _cell(read.cell),
        users,
        targets,
        read.delay_spread_s,
        read.fading_speed_m_per_s,
        read.cell.path_exponent,
        cancellation_db=read.cancellation_db,
    )


def _cell(settings: CellSettings) -> Cell:
    spacing = settings.subcarrier_spacing_hz
    subcarriers = settings.resource_blocks * SUBCARRIERS_OF_A_BLOCK
    # The normal cyclic prefix: 144 of 2048 samples.
    numerology = Numerology(settings.carrier_hz, spacing, subcarriers, SYMBOLS_OF_A_SLOT, 144 / 2048 / spacing)
    name, antennas, power = settings.name, settings.antennas, settings.power_watts
    return Cell(name, antennas, power, settings.noise_figure_db, numerology, None, settings.resource_blocks)


def _user(entry: UserEntry, seconds: float, folder: Path, rng: np.random.Generator) -> MovingUser:
    user = User(entry.name, entry.weight, entry.min_rate_bits_per_s)
    trace: RateTrace | None = None
    if entry.trace == "made":
        trace = made_trace(seconds, rng, f"made for {entry.name}")
    elif entry.trace is not None:
        found = read_bandwidth(folder / entry.trace)
        trace = RateTrace(entry.trace, found.times_s, found.rates_bits_per_s)
    return MovingUser(user, entry.path.mobility(seconds, rng), trace, entry.mean_snr_db)


def _target(entry: TargetEntry, seconds: float, rng: np.random.Generator) -> MovingTarget:
    need = SensingNeed(
        velocity_std_m_per_s=entry.velocity_std_m_per_s,
        detection_probability=entry.detection_probability,
        false_alarm=entry.false_alarm,
        refresh_s=entry.refresh_s,
    )
    return MovingTarget(
        entry.name,
        entry.path.mobility(seconds, rng),
        entry.rcs_m2,
        entry.position_std_m,
        need,
        entry.velocity_resolution_m_per_s,
        entry.weight,
    )
