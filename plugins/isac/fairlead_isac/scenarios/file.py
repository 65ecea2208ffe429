"""A scenario's YAML file. Errors name file, line, key, value and what is accepted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from fairlead_agent.config.found import config_path
from fairlead_agent.config.load import Strict, load_yaml
from fairlead_agent.messages.base import Name

from ..captures.bandwidth import read_bandwidth
from ..errors import IsacError
from ..physics.numerology import Numerology
from ..requests.request import PLANE_95, SCALAR_95, Requirements, SensingRequest, requirements
from ..scenario import Cell, SensingNeed, User
from ..simulation.mobility import Mobility, Still, Straight, Waypoints
from ..simulation.policies import POLICIES, Policy
from ..simulation.scenario import MovingScenario, MovingTarget, MovingUser
from ..simulation.traces import RateTrace, available_traces, made_trace

Metres = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]


class CellPart(Strict):
    """The base station, at the origin; its broadside is along x."""

    carrier_hz: float = Field(default=3.5e9, ge=1e8, le=3e11, description="Carrier frequency.")
    subcarrier_spacing_khz: Literal[15, 30, 60, 120, 240, 480, 960] = Field(default=30, description="Of 5G NR.")
    resource_blocks: int = Field(default=100, ge=1, le=275, description="Of 12 subcarriers each.")
    units: int = Field(default=24, ge=1, le=275, description="In which the band is allocated, of equal width.")
    antennas: int = Field(default=16, ge=1, le=256, description="Of a line, half a wavelength apart.")
    power_watts: float = Field(default=1.0, gt=0, le=1000, description="Of all antennas together.")
    noise_figure_db: float = Field(default=5.0, ge=0, le=40, description="Of the receiver.")


class StraightPart(Strict):
    """To and fro between two points."""

    start_m: tuple[Metres, Metres] = Field(description="x and y.")
    end_m: tuple[Metres, Metres] = Field(description="x and y.")
    speed_m_per_s: float = Field(gt=0, le=500, description="Constant.")
    phase_s: float = Field(default=0.0, ge=0, le=1e6, description="How long it has been under way at the start.")


class WaypointsPart(Strict):
    """From one random point to the next."""

    x_m: tuple[Metres, Metres] = Field(description="Least and largest.")
    y_m: tuple[Metres, Metres] = Field(description="Least and largest.")
    speeds_m_per_s: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0, le=500)]] = Field(
        description="Least and largest."
    )


class PathPart(Strict):
    """How something moves: exactly one of these."""

    still_m: tuple[Metres, Metres] | None = Field(default=None, description="x and y.")
    straight: StraightPart | None = Field(default=None, description="To and fro.")
    waypoints: WaypointsPart | None = Field(default=None, description="From one random point to the next.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(each is not None for each in (self.still_m, self.straight, self.waypoints)) != 1:
            raise ValueError("exactly one of still_m, straight and waypoints is accepted")
        return self

    def mobility(self, seconds: float, rng: np.random.Generator) -> Mobility:
        """The path itself."""
        if self.still_m is not None:
            return Still(*self.still_m)
        if self.straight is not None:
            part = self.straight
            return Straight(part.start_m, part.end_m, part.speed_m_per_s, part.phase_s)
        assert self.waypoints is not None
        return Waypoints((*self.waypoints.x_m, *self.waypoints.y_m), self.waypoints.speeds_m_per_s, seconds, rng)


class UserPart(Strict):
    """Who is sent data."""

    name: Name = Field(description="In plots.")
    path: PathPart = Field(description="How it moves.")
    trace: str | None = Field(
        default=None,
        description="Of its rate: recorded, made, or the path of a file with two columns, s and Mbit/s. null: its "
        "distance says how good its channel is.",
    )
    mean_snr_db: float = Field(default=12.0, ge=-20, le=60, description="With a trace: at its mean rate.")
    weight: float = Field(default=1.0, gt=0, le=1e6, description="Of proportional fairness.")
    min_rate_bits_per_s: float = Field(default=0.0, ge=0, le=1e12, description="That it needs at least.")


class TargetPart(Strict):
    """What is sensed, and how well."""

    name: Name = Field(description="In plots.")
    path: PathPart = Field(description="How it moves.")
    rcs_m2: float = Field(default=1.0, gt=0, le=1e6, description="Radar cross section.")
    sensing_class: int | None = Field(
        default=None, ge=1, le=7, description="Of 3GPP TS 22.137; what is below goes first."
    )
    position_m: float | None = Field(default=None, gt=0, description="Accuracy, 95 %.")
    velocity_m_per_s: float | None = Field(default=None, gt=0, description="Accuracy, 95 %.")
    velocity_resolution_m_per_s: float | None = Field(default=None, gt=0, description="To be told apart.")
    detection: float | None = Field(default=None, gt=0, lt=1, description="Probability.")
    refresh_s: float | None = Field(default=None, gt=0, le=60, description="Between two estimates.")
    weight: float = Field(default=1.0, gt=0, le=1e6, description="Of its refresh intervals.")

    def target(self, seconds: float, rng: np.random.Generator) -> MovingTarget:
        """As the simulation knows it."""
        found = self._of_class()
        position = self.position_m or found.horizontal_m
        part = None if position is None else position / PLANE_95 / math.sqrt(2)
        return MovingTarget(
            self.name,
            self.path.mobility(seconds, rng),
            self.rcs_m2,
            part,
            self._need(found),
            self.velocity_resolution_m_per_s or found.velocity_resolution_m_per_s,
            self.weight,
        )

    def _of_class(self) -> Requirements:
        if self.sensing_class is None:
            return Requirements(refresh_s=0.1)
        asked = {"class": self.sensing_class, "area": {"range_m": 1.0}}
        return requirements(SensingRequest.model_validate(asked))

    def _need(self, found: Requirements) -> SensingNeed:
        velocity, missed = self.velocity_m_per_s or found.velocity_m_per_s, found.missed_detection
        return SensingNeed(
            velocity_std_m_per_s=None if velocity is None else velocity / SCALAR_95,
            detection_probability=self.detection or (None if missed is None else 1 - missed),
            refresh_s=self.refresh_s or found.refresh_s,
        )


class ScenarioFile(Strict):
    """A scenario that `fairlead isac simulate` runs."""

    name: Name = Field(description="In titles and names of pictures.")
    summary: str = Field(default="", max_length=200, description="One line.")
    seconds: float = Field(default=2.0, gt=0, le=600, description="Of simulated time.")
    seed: int = Field(default=1, ge=0, description="Of paths, traces and fading.")
    cell: CellPart = Field(default_factory=CellPart, description="The base station.")
    users: tuple[UserPart, ...] = Field(default=(), max_length=64, description="Who is sent data.")
    targets: tuple[TargetPart, ...] = Field(default=(), max_length=64, description="What is sensed.")
    policies: tuple[str, ...] = Field(
        default=("multi-granularity", "slot"), min_length=1, description=f"Of {', '.join(POLICIES)}."
    )
    kbits_per_refresh: float = Field(
        default=1000.0, ge=0, le=1e9, description="What an interval in which a target's needs are met is worth in data."
    )
    most_sensing: float = Field(default=0.5, ge=0, le=1, description="Share of time that sensing may take.")
    fading_speed_m_per_s: float = Field(default=8.0, gt=0, le=500, description="Of users and what is around them.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        unknown = next((name for name in self.policies if name not in POLICIES), None)
        if unknown is not None:
            raise ValueError(f"policies: {unknown!r} is not known; accepted: {', '.join(POLICIES)}")
        for kind in ("users", "targets"):
            names = [each.name for each in getattr(self, kind)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{kind}: {twice!r} stands twice; every one has a name of its own")
        if not self.users and not self.targets:
            raise ValueError("users, targets: at least one of either is accepted")
        return self

    def policy(self, name: str) -> Policy:
        """One of the policies."""
        return Policy(name, 1e3 * self.kbits_per_refresh, self.most_sensing)

    def cell_of(self) -> Cell:
        """The base station."""
        part = self.cell
        mu = round(math.log2(part.subcarrier_spacing_khz / 15))
        numerology = Numerology.new_radio(part.carrier_hz, mu, part.resource_blocks)
        return Cell("cell", part.antennas, part.power_watts, part.noise_figure_db, numerology, None, part.units)

    def scenario(self) -> MovingScenario:
        """As the simulation knows it.

        Raises:
            IsacError: a path or a trace that is none; names the user or target.
        """
        rng = np.random.default_rng(self.seed)
        users = tuple(self._user(each, number, rng) for number, each in enumerate(self.users))
        targets = tuple(each.target(self.seconds, rng) for each in self.targets)
        return MovingScenario(self.cell_of(), users, targets, fading_speed_m_per_s=self.fading_speed_m_per_s)

    def _user(self, part: UserPart, number: int, rng: np.random.Generator) -> MovingUser:
        user = User(part.name, part.weight, part.min_rate_bits_per_s)
        try:
            path, trace = part.path.mobility(self.seconds, rng), self._trace(part.trace, number, rng)
        except (IsacError, OSError) as error:
            raise IsacError(f"users.{part.name}: {error}") from None
        return MovingUser(user, path, trace, part.mean_snr_db)

    def _trace(self, said: str | None, number: int, rng: np.random.Generator) -> RateTrace | None:
        if said is None:
            return None
        if said == "made":
            return made_trace(self.seconds, rng)
        if said == "recorded":
            traces = available_traces(len(self.users), self.seconds, rng)
            return traces[number % len(traces)]
        read = read_bandwidth(Path(said))
        return RateTrace(said, read.times_s, read.rates_bits_per_s)


def load_scenario(name: str) -> ScenarioFile:
    """Read a scenario by the name of a shipped one or by its path.

    Raises:
        ConfigError: it is missing or does not fit.
    """
    return load_yaml(config_path("scenarios", name), ScenarioFile)
