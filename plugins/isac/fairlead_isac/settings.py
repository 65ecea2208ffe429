"""The config of a workload that this plugin serves. Imported by the agent: standard library and pydantic only."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fairlead_agent.plugin import checked

StageName = Literal["separated", "orthogonal", "converged", "collaborative"]
SensingClass = Literal[1, 2, 3, 4, 5, 6, 7]
_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
#: Of a resource block.
SUBCARRIERS = 12


class Absence(BaseModel):
    """A time in which the simulated radio is not there, counted from the instance's start."""

    model_config = _FROZEN

    begin_s: float = Field(ge=0)
    end_s: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Absence:
        if self.begin_s >= self.end_s:
            raise ValueError("end_s: accepted: later than begin_s")
        return self


class Radio(BaseModel):
    """Where samples come from."""

    model_config = _FROZEN

    device: str = Field(default="", max_length=500, description="SoapySDR arguments; for the variant soapy-radio.")
    seed: int = Field(default=1, ge=0, description="Of the simulated radio's noise and of channels' fading.")
    channels: int = Field(
        default=2, ge=1, le=16, description="Of the receiver; each has its share of the antennas. Angles need two."
    )
    delay_s: float = Field(
        default=0.0, ge=0, le=0.01, description="That a software radio adds between sending and receiving (loop back)."
    )
    clutter: int = Field(default=0, ge=0, le=500, description="Still reflectors around the simulated radio.")
    self_interference_cancellation_db: float = Field(
        default=130.0, ge=0, le=200, description="How much of its own signal the receiver removes, in dB; white rest."
    )
    timeout_s: float = Field(default=2.0, gt=0, le=60, description="A radio that is silent for longer is lost.")
    absences: tuple[Absence, ...] = Field(default=(), max_length=100, description="Of the simulated radio.")


class Cell(BaseModel):
    """The base station and its numerology."""

    model_config = _FROZEN

    name: str = Field(default="cell", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    antennas: int = Field(default=16, ge=1, le=256, description="Of a uniform linear array, half a wavelength apart.")
    power_watts: float = Field(default=1.0, gt=0, le=1000, description="Of all antennas together.")
    noise_figure_db: float = Field(default=5.0, ge=0, le=40)
    carrier_hz: float = Field(default=3.5e9, ge=1e8, le=3e11)
    subcarrier_spacing_hz: float = Field(default=30e3, ge=15e3, le=960e3)
    resource_blocks: int = Field(default=100, ge=1, le=275, description="Of 12 subcarriers each.")
    path_exponent: float = Field(default=3.0, ge=1.5, le=6, description="How power falls with distance to users.")
    duplex: Literal["half", "full"] | None = Field(
        default=None,
        description="full: it hears echoes and users that send while it sends; the stage converged makes beams and "
        "receivers together then. null: the cell's layer chooses, by radio.self_interference_cancellation_db.",
    )

    @property
    def bandwidth_hz(self) -> float:
        """Width of the band."""
        return self.resource_blocks * SUBCARRIERS * self.subcarrier_spacing_hz


class User(BaseModel):
    """Who is sent data or sends it, and which link of the resource graph that is."""

    model_config = _FROZEN

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    peer: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="Peer of this node's link that leads over the radio to this user: gateway (the way to clients) or "
        "a node. What the schedule gives the user is told as that link's capacity and delay. null: no link.",
    )
    address: str | None = Field(
        default=None, description="Address or network of this user: its class where shaping is set. null: not shaped."
    )
    offered_bits_per_s: float = Field(default=0.0, ge=0, le=1e12, description="Traffic that is on the link already.")
    weight: float = Field(default=1.0, gt=0, le=1e6, description="In the sum of rates.")
    min_rate_bits_per_s: float = Field(default=0.0, ge=0, le=1e12)
    max_delay_s: float | None = Field(default=None, gt=0, le=60)
    angle_degrees: float = Field(default=0.0, ge=-90, le=90, description="From broadside.")
    distance_m: float = Field(default=100.0, ge=1, le=1e5)
    speed_m_per_s: float = Field(default=0.0, ge=0, le=500)
    loss_db: float = Field(default=0.0, ge=0, le=200, description="Beside that of the distance: walls.")
    direction: Literal["down", "up"] = Field(default="down", description="up: the user sends, and the cell hears it.")
    send_watts: float = Field(default=0.2, gt=0, le=100, description="Of a user that sends.")

    @model_validator(mode="after")
    def _receives(self) -> User:
        named = next((name for name in ("peer", "address") if getattr(self, name) is not None), None)
        if self.direction == "up" and named is not None:
            raise ValueError(f"{named}: accepted: null for a user that sends: its node tells of that link")
        return self


class Target(BaseModel):
    """What is there to be sensed, of the simulated radio; what is found is estimated from samples."""

    model_config = _FROZEN

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    angle_degrees: float = Field(ge=-90, le=90, description="From broadside.")
    range_m: float = Field(gt=0, le=1e5)
    velocity_m_per_s: float = Field(
        default=0.0,
        ge=-500,
        le=500,
        description="Positive: it goes away. It turns where it is a quarter nearer or farther than range_m.",
    )
    rcs_m2: float = Field(default=1.0, gt=0, le=1e6, description="Radar cross section.")


class Shares(BaseModel):
    """Bounds of what sensing may take."""

    model_config = _FROZEN

    minimum: float = Field(default=0.0, ge=0, le=1)
    maximum: float = Field(default=0.9, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Shares:
        if self.minimum > self.maximum:
            raise ValueError("sensing.minimum: accepted: at most sensing.maximum")
        return self


class Site(BaseModel):
    """Where a replica's array stands. Users and targets are written down as seen from x = y = 0 along the x axis."""

    model_config = _FROZEN

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Of the cell.")
    x_m: float = Field(default=0.0, ge=-1e5, le=1e5)
    y_m: float = Field(default=0.0, ge=-1e5, le=1e5)
    broadside_degrees: float = Field(default=0.0, ge=-180, le=180, description="From the x axis, as angles of users.")
    backhaul_bits_per_s: float | None = Field(
        default=None, gt=0, le=1e15, description="Of this cell. null: edge.backhaul_bits_per_s."
    )


class Edge(BaseModel):
    """What lies behind the cells of the stage collaborative: one server for all, and each cell's way to it."""

    model_config = _FROZEN

    compute_cycles_per_s: float = Field(
        default=2e10, gt=0, le=1e18, description="Of the server that turns what all cells receive into estimates."
    )
    backhaul_bits_per_s: float = Field(
        default=2e9, gt=0, le=1e15, description="Of each cell, for users' data and received samples together."
    )
    bits_per_element: float = Field(
        default=32.0, gt=0, le=1024, description="Of a received resource element that crosses the backhaul."
    )
    cycles_per_operation: float = Field(
        default=1.0, gt=0, le=1e6, description="Of a floating-point operation of the range-Doppler transform."
    )


class Shaping(BaseModel):
    """Which queues follow the schedule: what a user is given is what leaves towards its address."""

    model_config = _FROZEN

    link: str = Field(pattern=r"^[^\s/:]{1,15}$", description="Link of this machine that leads to the users.")
    directory: str = Field(default="/run/fairlead/shaping", description="Where plans in force are written down.")


class Settings(BaseModel):
    """What a workload may set; unknown keys are refused, so that a typing error is not a silent default."""

    model_config = _FROZEN

    radio: Radio = Field(default_factory=Radio, description="Where samples come from.")
    cell: Cell = Field(default_factory=Cell, description="The base station.")
    users: tuple[User, ...] = Field(default=(), max_length=64, description="Who is sent data.")
    targets: tuple[Target, ...] = Field(default=(), max_length=64, description="What the simulated radio sees.")
    stage: StageName | None = Field(
        default=None, description="How sensing and communication share. null: the slowest layer chooses."
    )
    sites: tuple[Site, ...] = Field(
        default=(), max_length=64, description="One for each replica, a cell each. (): all at x = y = 0."
    )
    edge: Edge = Field(default_factory=Edge, description="Server and backhaul of the stage collaborative.")
    sensing: Shares = Field(default_factory=Shares, description="Share of time that sensing may take.")
    shaping: Shaping | None = Field(
        default=None, description="Queues that follow the schedule (root, pyroute2). null: nothing is shaped."
    )
    slot_s: float = Field(
        default=0.05, ge=1e-3, le=1, description="Between two slot decisions; each holds for all slots until the next."
    )
    samples_per_s: float | None = Field(
        default=None, gt=0, description="Resource elements a second that are turned into estimates. null: measured."
    )
    decisions_kept: int = Field(default=1000, ge=1, le=1_000_000, description="Of the log of decisions.")

    @model_validator(mode="after")
    def _names(self) -> Settings:
        if self.cell.antennas % self.radio.channels:
            raise ValueError(
                f"radio.channels = {self.radio.channels}: accepted: a divisor of cell.antennas = {self.cell.antennas}"
            )
        _check_addresses(self.users)
        for field in ("users", "targets", "sites"):
            names = [each.name for each in getattr(self, field)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{field}: {twice!r} is there twice; accepted: each name once")
        return self


def _check_addresses(users: tuple[User, ...]) -> None:
    for user in users:
        try:
            ip_network(user.address or "0.0.0.0", strict=False)
        except ValueError:
            accepted = "an address or a network such as 192.0.2.7 or 2001:db8::/64"
            raise ValueError(f"users: address = {user.address!r}: accepted: {accepted}") from None


def read_settings(config: dict[str, Any]) -> Settings:
    """Check a workload's config.

    Raises:
        ValueError: one line that names each bad field, its value and what is accepted.
    """
    return checked(Settings, config)
