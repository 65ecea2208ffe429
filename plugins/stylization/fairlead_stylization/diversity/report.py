"""How different results are, told together with how good they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from ..quality.similarity import high_frequency_energy
from .features import Features, pairwise, statistics, unit


@dataclass(frozen=True, slots=True)
class Diversity:
    """Several results of one request.

    Attributes:
        distance: mean feature distance of all pairs (unit-normalised features).
        nearest: of the two that are most alike.
        style_loss: mean square difference of features' means and deviations to the style's, mean over results; None:
            no style was given.
        high_frequency_energy: mean over results: what a visible grid adds, and blur takes away.
    """

    distance: float
    nearest: float
    style_loss: float | None
    high_frequency_energy: float

    def as_json(self) -> dict[str, float | None]:
        """For a file, or an answer."""
        return asdict(self)


def diversity(results: torch.Tensor, features: Features, style: torch.Tensor | None = None) -> Diversity:
    """Measure results [n, 3, height, width], n at least 2; ``style`` [1, 3, any, any] is what they should look like.

    Raises ValueError for fewer than two results.
    """
    if len(results) < 2:
        raise ValueError(f"{len(results)} results; accepted: 2 and above")
    with torch.no_grad():
        found = features(results)
        apart = pairwise(unit(found))
        loss = None
        if style is not None:
            wanted = statistics(features(style))
            parts = [(a - b).square().mean() for a, b in zip(statistics(found), wanted, strict=True)]
            loss = float(torch.stack(parts).sum())
    energies = [high_frequency_energy(picture) for picture in results.permute(0, 2, 3, 1).cpu().numpy()]
    energy = sum(energies) / len(energies)
    return Diversity(float(apart.mean()), float(apart.min()), loss, energy)
