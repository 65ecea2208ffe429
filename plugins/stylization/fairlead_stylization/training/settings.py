"""What a training run is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BadSetting
from .objective import LossWeights


@dataclass(frozen=True)
class TrainingSettings:
    """One run.

    Attributes:
        contents, styles: folders of pictures.
        vgg: file of VGG-19's weights, to relu3_1 at least.
        slim: file of the slim network's, for relu4_1 and relu5_1; not needed where `vgg` reaches relu5_1.
        out: folder of the run: `state.pt` to go on from, `weights.safetensors`, `losses.jsonl`.
        variant: "edge" or "quality".
        steps: in all, those of earlier parts of the run included.
        rehearsal: of these, first steps in which the slim network stands in for the full one, which is three times as
        fast.
        batch: pictures a step.
        size: side of the pictures, in pixels.
        rate: the highest rate of Adam; it rises over `warmup` steps and falls along a cosine to a hundredth.
        average: decay of the weights' moving average, which is what is kept.
        every: steps between two records.
        seed: of all chance.
        threads: of torch, for each worker; its own choice where 0.
        workers: that compute batches at once, each its own.
    """

    contents: Path
    styles: Path
    vgg: Path
    out: Path
    slim: Path | None = None
    variant: str = "edge"
    steps: int = 8000
    rehearsal: int = 0
    batch: int = 4
    size: int = 128
    rate: float = 1e-3
    warmup: int = 200
    average: float = 0.99
    every: int = 100
    seed: int = 0
    threads: int = 0
    workers: int = 1
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        if self.variant not in {"edge", "quality"}:
            raise BadSetting(f"variant: {self.variant!r}; accepted: edge, quality")
        for name, least in (("steps", 1), ("batch", 2), ("every", 1), ("size", 64), ("workers", 1)):
            if getattr(self, name) < least:
                raise BadSetting(f"{name}: {getattr(self, name)}; accepted: {least} or more")
        if self.size % 8:
            raise BadSetting(f"size: {self.size}; accepted: multiples of 8")
