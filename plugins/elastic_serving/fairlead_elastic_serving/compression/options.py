"""How keys and values are compressed in an engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fairlead_language_model.config import ModelConfig

from ..arena.formats import KVFormat
from ..kernels.placement import WINDOW, Thresholds
from .calibration import load

WHEN = ("always", "pressure")


@dataclass(frozen=True, slots=True)
class Compression:
    """Two tiers instead of uncompressed keys and values (LeanKV).

    Attributes:
        when: "always": each request once its prompt is computed; "pressure": only where pages are missing.
        high: format of significant tokens.
        low: of those that are less so.
        alphas: above and below which a token's relative significance puts it in the high tier, and prunes it.
        calibration: a file with alphas for each head, in place of those.
        window: newest tokens that always stay high.
        kept: sequences that ended and are kept for prompts that go on from them, at most.
    """

    when: Literal["always", "pressure"] = "always"
    high: str = "K8V4"
    low: str = "K4V2"
    alphas: tuple[float, float] = (1.0, 0.02)
    calibration: Path | None = None
    window: int = WINDOW
    kept: int = 8

    def __post_init__(self) -> None:
        if self.when not in WHEN:
            raise ValueError(f"when {self.when!r}: accepted: {', '.join(WHEN)}")
        if self.window < 1 or self.kept < 0:
            raise ValueError(f"window {self.window}, kept {self.kept}: accepted: 1 and above, 0 and above")
        # Refused here, not when the first prompt ends.
        self.formats  # noqa: B018
        Thresholds(*self.alphas)

    @property
    def formats(self) -> tuple[KVFormat, KVFormat]:
        """Formats of the high and the low tier."""
        return KVFormat.parse(self.high), KVFormat.parse(self.low)

    def thresholds(self, config: ModelConfig, fingerprint: str) -> Thresholds:
        """Return the alphas of each head, float32 [layers, kv_heads].

        Raises:
            ElasticServingError: the calibration cannot be read, or is for another model.
        """
        shape = (config.num_hidden_layers, config.num_key_value_heads)
        if self.calibration is not None:
            found = load(self.calibration, fingerprint, *shape)
            return Thresholds(found.high, found.low)
        high, low = self.alphas
        return Thresholds(np.full(shape, high, np.float32), np.full(shape, low, np.float32))
