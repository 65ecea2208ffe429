"""How a model stretches its rotary position embedding to longer contexts."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RopeScaling(BaseModel):
    """Scaling of rotary frequencies: `linear` (position interpolation) or `llama3` (by wavelength).

    For llama3, wavelengths shorter than original_max_position_embeddings / high_freq_factor are kept, those longer
    than original_max_position_embeddings / low_freq_factor are divided by factor, and those between are interpolated.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    rope_type: Literal["linear", "llama3"]
    factor: float = Field(gt=0, allow_inf_nan=False)
    low_freq_factor: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    high_freq_factor: float = Field(default=4.0, gt=0, allow_inf_nan=False)
    original_max_position_embeddings: int = Field(default=8192, gt=0)

    @model_validator(mode="after")
    def _bands_in_order(self) -> RopeScaling:
        if self.rope_type == "llama3" and self.high_freq_factor <= self.low_freq_factor:
            raise ValueError(f"high_freq_factor must be larger than low_freq_factor {self.low_freq_factor}")
        return self
