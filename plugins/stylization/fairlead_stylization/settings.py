"""The config of a workload that this plugin serves. Imported by the agent: standard library and pydantic only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from fairlead_agent.plugin import checked

#: Of a picture in which different results are looked for: changes are smooth, and serve larger ones as well.
DIVERSE_PIXELS = 256 * 256


class Settings(BaseModel):
    """What a workload may set; unknown keys are refused, so that a typing error is not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    expected_pixels: int = Field(
        default=512 * 512, ge=1, le=10**9, description="Of a picture: what bids are made for; others are served too."
    )
    max_pixels: int = Field(default=34_000_000, ge=1024, le=10**9, description="Larger pictures are refused (413).")
    max_bytes: int = Field(default=64 << 20, ge=1024, le=1 << 32, description="Of a request; larger: refused (413).")
    max_in_flight: int = Field(default=2, ge=1, le=64, description="Pictures at work; more wait.")
    max_waiting: int = Field(default=32, ge=0, le=4096, description="Requests that wait; more are refused (429).")
    max_diverse: int = Field(default=8, ge=1, le=64, description="Different results of one request.")
    diverse_pixels: int = Field(
        default=DIVERSE_PIXELS,
        ge=1024,
        le=10**8,
        description="Of a picture that is searched for different results as it is; larger ones: smaller.",
    )
    threads: int | None = Field(default=None, ge=1, le=256, description="Default: the cores of the budget.")
    weights: str | None = Field(
        default=None, description="Absolute path of a folder with graphs of one's own training. null: those shipped."
    )
    runtime: Literal["auto", "native", "onnx"] = Field(
        default="auto", description="What runs the network. auto: the project's own kernels where they are faster."
    )
    clip: str | None = Field(
        default=None, description="Absolute path of a folder with a CLIP as Hugging Face writes it: texts are accepted."
    )
    inpainting: str | None = Field(
        default=None,
        description="Absolute path of weights by `fairlead style-train-generator inpainting`. null: those shipped.",
    )
    colorization: str | None = Field(default=None, description="The same of `style-train-generator colorization`.")
    super_resolution: str | None = Field(
        default=None, description="Absolute path of an FSRCNN or ESPCN (.npz of its arrays): pictures are enlarged."
    )

    @field_validator("weights", "clip", "inpainting", "colorization", "super_resolution")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_absolute():
            raise ValueError("accepted: an absolute path")
        return value


def read_settings(config: dict[str, Any]) -> Settings:
    """Check a workload's config.

    Raises:
        ValueError: one line that names each bad field, its value and what is accepted.
    """
    return checked(Settings, config)
