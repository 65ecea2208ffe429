"""Controls in the manner of E2SM-RC (O-RAN): what a RIC, or a person, may set of this cell while it runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fairlead_agent.plugin import checked

from ..errors import IsacError
from ..settings import StageName

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Control(BaseModel):
    """One control; what is not named stays as it is."""

    model_config = _FROZEN

    sensing_share_minimum: float | None = Field(default=None, ge=0, le=1, description="Of air time, at least.")
    sensing_share_maximum: float | None = Field(default=None, ge=0, le=1, description="Of air time, at most.")
    power_watts: float | None = Field(default=None, gt=0, le=1000, description="Of the cell, at most.")
    stage: StageName | Literal["any"] | None = Field(default=None, description="any: the slowest layer chooses.")
    duplex: Literal["half", "full", "any"] | None = Field(default=None, description="any: the cell layer chooses.")
    weights: dict[str, float] = Field(default_factory=dict, description="Of users, by name.")

    @model_validator(mode="after")
    def _says_something(self) -> Control:
        low, high = self.sensing_share_minimum, self.sensing_share_maximum
        if low is not None and high is not None and low > high:
            raise ValueError("sensing_share_minimum: accepted: at most sensing_share_maximum")
        if any(not 0 < weight <= 1e6 for weight in self.weights.values()):
            raise ValueError("weights: accepted: numbers above 0, at most 1e6")
        if not self.model_fields_set:
            raise ValueError(f"accepted: at least one of {', '.join(Control.model_fields)}")
        return self


def read_control(body: Any) -> Control:
    """Check a control's body.

    Raises:
        IsacError: one line that names each bad field, its value and what is accepted.
    """
    return checked(Control, body, "control", IsacError)
