"""The config of a workload that this plugin serves. Imported by the agent: standard library and pydantic only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fairlead_agent.plugin import checked

MODELS = Path(__file__).with_name("models")
DEFAULT_MODEL = "tiny-drelu"
GPU_VARIANT = "bf16-gpu"
#: Guesses that one call of the kernels checks, with the token before them (fairlead_kernels.MOST_SEQUENCES).
MOST_GUESSES = 7


class AcceleratorSettings(BaseModel):
    """A device that computes the neurons that fire most often, while the processor computes the others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["none", "cuda", "onnxruntime"] = Field(
        default="none",
        description="A CUDA GPU (PyTorch and Triton), or what ONNX Runtime has a provider for (NPUs, GPUs). The "
        "variant bf16-gpu takes cuda where nothing is said.",
    )
    memory_bytes: int | None = Field(
        default=None, ge=1, description="For neurons on the device. Default: the budget's vram, or else all neurons."
    )
    weights: Literal["packed", "bf16"] = Field(
        default="packed",
        description="How the device holds them. The variant bf16-gpu takes bf16 where no accelerator is set.",
    )
    providers: tuple[str, ...] = Field(
        default=(),
        description="Execution providers of ONNX Runtime, the preferred first, e.g. QNN, CPU. Default: all there are.",
    )
    provider_options: dict[str, dict[str, str]] = Field(default_factory=dict, description="By a provider's name.")
    profile: str | None = Field(
        default=None, description="Absolute path of `fairlead sparse profile`'s file: which neurons fire most often."
    )
    plan: str | None = Field(
        default=None,
        description="Absolute path of `fairlead sparse plan`'s file: what it pins is hot.",
    )

    @field_validator("profile", "plan")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_absolute():
            raise ValueError("accepted: an absolute path")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> AcceleratorSettings:
        if self.profile is not None and self.plan is not None:
            raise ValueError("profile and plan: accepted: one of them")
        if self.kind != "onnxruntime" and (self.providers or self.provider_options):
            raise ValueError("providers and provider_options: accepted with kind = onnxruntime")
        return self


class Settings(BaseModel):
    """What a workload may set; unknown keys are refused, so that a typing error is not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        default=DEFAULT_MODEL,
        min_length=1,
        description="A model that ships with the plugin, or the absolute path of a checkpoint on the node: a directory "
        "in the Hugging Face layout, a .gguf file, or a bundle directory, whose neurons are read as memory allows.",
    )
    mode: Literal["exact", "predictor"] = Field(
        default="exact",
        description="Compute every gate, or those that the predictors of a bundle choose (faster, lossy).",
    )
    weight_bits: Literal[4, 8] | None = Field(
        default=None,
        description="Round the weights of a checkpoint to so many bits and multiply them in integers. Default: Q4_0 "
        "matrices of a .gguf file stay as they are; all others are 8 bits times floats. A bundle has its own.",
    )
    kv_bits: Literal[8, 32] = Field(
        default=32, description="Bits of a key's or value's entry; 8 takes about a quarter of the memory (lossy)."
    )
    context_tokens: int | None = Field(default=None, ge=16, le=1 << 20, description="Default: the model's own.")
    max_sequences: int = Field(default=4, ge=1, le=64, description="Requests that generate at the same time, at most.")
    max_waiting: int = Field(default=32, ge=0, le=4096, description="Requests that may wait; more are refused (429).")
    max_tokens: int = Field(default=256, ge=1, description="Tokens generated where a request does not say how many.")
    threads: int | None = Field(default=None, ge=1, le=256, description="Default: the cores of the budget.")
    prefix_cache: bool = Field(default=True, description="Keep keys and values for prompts that begin alike.")
    session_directory: str | None = Field(
        default=None,
        min_length=1,
        description="Absolute path of a directory on the node in which the keys and values of requests with a "
        "`session` outlive the instance. Needs prefix_cache.",
    )
    session_megabytes: int = Field(default=1024, ge=1, description="Room in it; the oldest sessions give way.")
    draft: Literal["ngram"] | None = Field(
        default=None, description="Guess the next tokens from the text so far; changes the speed only."
    )
    draft_model: str | None = Field(
        default=None, description="Guess them with a smaller model of the same tokenizer; a name or path as `model`."
    )
    draft_tokens: int = Field(default=4, ge=1, le=MOST_GUESSES, description="Tokens guessed ahead, at most.")

    accelerator: AcceleratorSettings = Field(
        default_factory=AcceleratorSettings,
        description="A device beside the processor. Of a bundle it holds the beginning, the rest is streamed.",
    )

    @field_validator("session_directory")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_absolute():
            raise ValueError("accepted: an absolute path")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        if self.session_directory is not None and not self.prefix_cache:
            raise ValueError("session_directory needs prefix_cache = true")
        if self.draft is not None and self.draft_model is not None:
            raise ValueError("draft and draft_model: accepted: one of them")
        return self

    @field_validator("model", "draft_model")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_absolute() and value not in shipped_models():
            raise ValueError(f"accepted: {', '.join(shipped_models()) or 'no shipped model'}, or an absolute path")
        return value

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

    def accelerator_for(self, variant: str) -> AcceleratorSettings:
        """Return the accelerator of a variant: the GPU variant's is CUDA with bfloat16 weights where none is set.

        Raises:
            ValueError: the GPU variant with another accelerator.
        """
        if variant != GPU_VARIANT or self.accelerator.kind == "cuda":
            return self.accelerator
        if self.accelerator.kind != "none":
            raise ValueError(f"accelerator.kind = {self.accelerator.kind!r}: accepted with {GPU_VARIANT}: cuda, none")
        return self.accelerator.model_copy(update={"kind": "cuda", "weights": "bf16"})

    @property
    def model_path(self) -> Path:
        """Where the model lies on the node."""
        return _path_of(self.model)

    @property
    def draft_path(self) -> Path | None:
        """Where the draft model lies on the node, if there is one."""
        return None if self.draft_model is None else _path_of(self.draft_model)


def _path_of(model: str) -> Path:
    return Path(model) if Path(model).is_absolute() else MODELS / model


def shipped_models() -> list[str]:
    """Return the names of the models inside the package."""
    return sorted(path.parent.name for path in MODELS.glob("*/config.json"))


def read_settings(config: dict[str, Any]) -> Settings:
    """Check a workload's config.

    Raises:
        ValueError: one line that names each bad field, its value and what is accepted.
    """
    return checked(Settings, config)
