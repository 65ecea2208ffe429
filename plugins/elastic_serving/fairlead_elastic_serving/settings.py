"""The config of a workload that this plugin serves. Imported by the agent: standard library and pydantic only."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fairlead_agent.plugin import checked

DEFAULT_MODEL = "tiny-drelu"
#: Packages whose models may be asked for by name; found without importing them.
_PACKAGES = ("fairlead_elastic_serving", "fairlead_sparse_inference")
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Slo(BaseModel):
    """What a request counts as good for: goodput is how many a second meet both."""

    model_config = _FROZEN

    ttft_s: float = Field(default=2.0, gt=0, description="Time to the first token, at most.")
    tpot_s: float = Field(default=0.2, gt=0, description="Time of each further token, on average, at most.")


class DropSettings(BaseModel):
    """When instances give copies of layers away for keys and values, and when they take them back."""

    model_config = _FROZEN

    enabled: bool = Field(default=True, description="False: requests are preempted instead.")
    at: float = Field(default=0.95, gt=0, le=1, description="Share of the pages in use, from which on layers go.")
    restore_at: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of the pages that there are without dropping, below which they return.",
    )

    @model_validator(mode="after")
    def _apart(self) -> DropSettings:
        if self.restore_at >= self.at:
            raise ValueError("restore_at: accepted: less than at")
        return self


class LinkSettings(BaseModel):
    """Links to the other replicas."""

    model_config = _FROZEN

    bytes_per_s: float | None = Field(
        default=None, gt=0, description="Makes links as slow as others (simulated). Default: as fast as they are."
    )
    stall_s: float = Field(default=5.0, gt=0, description="Silence after which a peer is taken for dead.")
    join_s: float = Field(default=20.0, gt=0, description="How long making a link may take.")


class Settings(BaseModel):
    """What a workload may set; unknown keys are refused, so that a typing error is not a silent default."""

    model_config = _FROZEN

    model: str = Field(
        default=DEFAULT_MODEL,
        min_length=1,
        description="A model that ships with this plugin or with sparse_inference, or the absolute path of a "
        "checkpoint on the node: a directory in the Hugging Face layout or a .gguf file.",
    )
    dtype: Literal["float32", "bfloat16"] | None = Field(
        default=None, description="Of weights, states, keys and values. Default: that of the variant that wins."
    )
    kv_format: Literal["raw", "tiered"] = Field(
        default="raw", description="Keys and values as they are, or each token in the bits that it deserves (lossy)."
    )
    compress: Literal["always", "pressure"] = Field(
        default="always",
        description="Each request once its prompt is computed, or only where pages are missing; needs "
        "kv_format = tiered.",
    )
    calibration: str | None = Field(
        default=None, description="Absolute path of a file with a model's thresholds by head; needs kv_format = tiered."
    )
    context_tokens: int | None = Field(default=None, ge=16, le=1 << 20, description="Default: the model's own.")
    max_sequences: int = Field(default=16, ge=1, le=4096, description="Requests that run at the same time, at most.")
    max_waiting: int = Field(default=512, ge=0, le=1 << 16, description="That may wait; more are refused (429).")
    max_tokens: int = Field(default=256, ge=1, description="Tokens generated where a request does not say how many.")
    step_tokens: int = Field(default=256, ge=1, le=1 << 20, description="Tokens that one step computes, at most.")
    kv_bytes: int | None = Field(
        default=None,
        ge=1,
        description="For keys and values while no layer is given away, at most. Default: what the budget leaves beside "
        "the weights, up to max_sequences whole contexts.",
    )
    page_bytes: int | None = Field(
        default=None,
        ge=256,
        le=1 << 22,
        multiple_of=64,
        description="Of a page of memory. Default: the smallest multiple of 4 KiB that holds 16 tokens of a head.",
    )
    swap_bytes: int = Field(default=0, ge=0, description="Of host memory for requests that make room for others.")
    prefix_cache: bool = Field(default=True, description="Keep keys and values for prompts that begin alike.")
    threads: int | None = Field(default=None, ge=1, le=256, description="Default: the cores of the budget.")
    slo: Slo = Field(default_factory=Slo, description="What goodput counts.")
    drop: DropSettings = Field(default_factory=DropSettings, description="Giving layers away under load.")
    links: LinkSettings = Field(default_factory=LinkSettings, description="To the other replicas.")

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        if not Path(value).is_absolute() and value not in shipped_models():
            raise ValueError(f"accepted: {', '.join(shipped_models()) or 'no shipped model'}, or an absolute path")
        return value

    @field_validator("calibration")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_absolute():
            raise ValueError("accepted: an absolute path")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        if self.calibration is not None and self.kv_format != "tiered":
            raise ValueError("calibration needs kv_format = tiered")
        if self.compress != "always" and self.kv_format != "tiered":
            raise ValueError("compress = pressure needs kv_format = tiered")
        return self

    def context_of(self, model_tokens: int) -> int:
        """Return the context to serve with a model whose own holds `model_tokens`.

        Raises:
            ValueError: `context_tokens` asks for more than the model has.
        """
        wanted = self.context_tokens or model_tokens
        if wanted > model_tokens:
            raise ValueError(
                f"context_tokens = {wanted}: accepted: at most {model_tokens}, the context of {self.model}"
            )
        return wanted

    @property
    def model_path(self) -> Path:
        """Where the model lies on the node."""
        return Path(self.model) if Path(self.model).is_absolute() else shipped_models()[self.model]


def shipped_models() -> dict[str, Path]:
    """Return the models that come with this package or another language-model plugin, by name."""
    found: dict[str, Path] = {}
    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for config in sorted(Path(folder).glob("models/*/config.json")):
                found.setdefault(config.parent.name, config.parent)
    return found


def read_settings(config: dict[str, Any]) -> Settings:
    """Check a workload's config.

    Raises:
        ValueError: one line that names each bad field, its value and what is accepted.
    """
    return checked(Settings, config)
