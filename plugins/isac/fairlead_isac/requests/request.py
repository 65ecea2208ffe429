"""Requests for sensing as they come over HTTP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fairlead_agent.plugin import checked

from ..errors import IsacError
from ..scenario import SensingNeed
from .classes import sensing_class

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)
#: 95 % of a plane error lie within twice its root mean square (2DRMS), of a scalar one within 1.96 deviations.
PLANE_95, SCALAR_95 = 2.0, 1.96


class Area(BaseModel):
    """Where to look, and what is to be found there at the least."""

    model_config = _FROZEN

    angle_degrees: float = Field(
        default=0.0,
        ge=-180,
        le=180,
        description="Of the area's middle from broadside, at most 80; with sites from the x axis, any.",
    )
    range_m: float = Field(gt=0, le=1e5, description="Farthest range.")
    speed_m_per_s: float = Field(default=30.0, gt=0, le=500, description="Fastest radial speed that is told right.")
    rcs_m2: float = Field(default=1.0, gt=0, le=1e6, description="Smallest radar cross section.")


class Needs(BaseModel):
    """Explicit requirements; they take the place of the class's."""

    model_config = _FROZEN

    horizontal_m: float | None = Field(default=None, gt=0, description="Accuracy of the position, 95 %.")
    vertical_m: float | None = Field(default=None, gt=0, description="Accuracy of the height, 95 %.")
    velocity_m_per_s: float | None = Field(default=None, gt=0, description="Accuracy of the velocity, 95 %.")
    range_resolution_m: float | None = Field(default=None, gt=0)
    velocity_resolution_m_per_s: float | None = Field(default=None, gt=0)
    latency_s: float | None = Field(default=None, gt=0)
    refresh_s: float | None = Field(default=None, gt=0)
    missed_detection: float | None = Field(default=None, gt=0, lt=1)
    false_alarm: float | None = Field(default=None, gt=0, lt=1)


class SensingRequest(BaseModel):
    """A class of TS 22.137 or explicit needs, an area or a target by name, and for how long."""

    model_config = _FROZEN

    sensing_class: int | None = Field(default=None, alias="class", ge=1, le=7, description="Of 3GPP TS 22.137.")
    strict: bool = Field(default=False, description="The tightest bounds where the class gives ranges.")
    needs: Needs = Field(default_factory=Needs, description="Explicit requirements; they go before the class's.")
    area: Area | None = Field(default=None, description="Where to look.")
    target: str | None = Field(default=None, max_length=63, description="One of the workload's targets instead.")
    duration_s: float | None = Field(default=None, gt=0, le=86_400, description="null: until it is cancelled.")
    cells: Literal["best", "all", "here"] = Field(
        default="best",
        description="Of several: the one that takes least air time for it, all that see it, or the one that is asked. "
        "here: the area is told as this cell sees it, else as users and targets are written down.",
    )
    chosen: str = Field(default="", max_length=500, description="Why this cell was chosen, where another one did.")
    track: str | None = Field(
        default=None, max_length=130, description="Requests at several cells with the same track are of one thing."
    )
    joined: tuple[Annotated[str, Field(max_length=130)], ...] = Field(
        default=(), max_length=64, description="Requests of other cells that end with this one."
    )

    @model_validator(mode="after")
    def _whole(self) -> SensingRequest:
        if self.sensing_class is None and not self.needs.model_fields_set:
            raise ValueError("class or needs: accepted: one of them at least")
        if (self.area is None) == (self.target is None):
            raise ValueError("area or target: accepted: exactly one of them")
        return self


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a request comes to: upper bounds, None where nothing is asked. Accuracies hold at 95 %."""

    horizontal_m: float | None = None
    vertical_m: float | None = None
    velocity_m_per_s: float | None = None
    range_resolution_m: float | None = None
    velocity_resolution_m_per_s: float | None = None
    latency_s: float | None = None
    refresh_s: float = 1.0
    missed_detection: float | None = None
    false_alarm: float | None = None

    def need(self, range_m: float) -> SensingNeed:
        """The same for a stage: standard deviations. Half of a plane error may come from the range, half from angle."""
        part = None if self.horizontal_m is None else self.horizontal_m / PLANE_95 / math.sqrt(2)
        missed = self.missed_detection
        return SensingNeed(
            range_std_m=part,
            velocity_std_m_per_s=None if self.velocity_m_per_s is None else self.velocity_m_per_s / SCALAR_95,
            angle_std_rad=None if part is None else part / range_m,
            detection_probability=None if missed is None else 1 - missed,
            refresh_s=self.refresh_s,
        )


def requirements(request: SensingRequest) -> Requirements:
    """What is asked for, from the class and the explicit needs.

    Raises:
        IsacError: there is no such class.
    """
    values: dict[str, float] = {}
    if request.sensing_class is not None:
        found = sensing_class(request.sensing_class)
        for name in Needs.model_fields:
            value = getattr(found, name)
            if value is not None:
                values[name] = value.pick(request.strict) if hasattr(value, "pick") else value
    values |= {name: value for name, value in request.needs.model_dump().items() if value is not None}
    if "vertical_m" not in request.needs.model_fields_set:
        # A linear array measures in its plane; whoever needs heights says so.
        values.pop("vertical_m", None)
    return Requirements(**values)


def read_request(body: Any) -> SensingRequest:
    """Check a request's body.

    Raises:
        IsacError: one line that names each bad field, its value and what is accepted.
    """
    return checked(SensingRequest, body, "request", IsacError)
