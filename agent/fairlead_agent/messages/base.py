"""What all messages share."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"

#: Names of sites, nodes, workloads and plugins: they become levels of MQTT topics and parts of URLs.
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Reason = Annotated[str, Field(max_length=2000)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """An immutable value. Unknown fields are ignored, so that a newer peer can say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null", defer_build=True)


class Body(Frozen):
    """The ``data`` of a message. ``TYPE`` is its name on the wire, version included."""

    TYPE: ClassVar[str] = ""
