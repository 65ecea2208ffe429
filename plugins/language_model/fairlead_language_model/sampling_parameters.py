"""What a request says about how its tokens are chosen."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class SamplingParameters(BaseModel):
    """How tokens are drawn, and when to stop.

    A temperature of 0 takes the most likely token. top_k = 0, top_p = 1 and min_p = 0 switch their filters off.
    Repetition penalty 1 and presence and frequency penalties 0 do nothing. `stop`, `ignore_eos` (tokens that
    end an answer do not end it) and `max_tokens` are obeyed by whoever runs the generation (see StopMatcher); they
    travel here so that a request is one object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, ge=0, le=100, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    repetition_penalty: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2, allow_inf_nan=False)
    logit_bias: Mapping[int, float] = Field(default_factory=dict[int, float])
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    max_tokens: int | None = Field(default=None, ge=1)

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken."""
        return self.temperature == 0
