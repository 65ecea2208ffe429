"""What a search wants of results: to be far from each other, near a picture, or near a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from .features import Features, distances, pairwise, statistics, unit

#: Of maps of features of n pictures, [n]: how far they are from a style.
Loss = Callable[[Sequence[torch.Tensor]], torch.Tensor]


class Objective(Protocol):
    """More is better; results are float32 [n, 3, height, width] in [0, 1], gradients must reach them."""

    def __call__(self, results: torch.Tensor) -> torch.Tensor:
        """Return one number."""
        ...


class Spread:
    """Far from each other (one result: from the plain one), without leaving the plain result's style.

    The mean of the square roots of all distances, so that one pair far apart does not stand for the rest; less
    ``keep`` times what results lost of the style.

    Args:
        features: what distances are taken in.
        plain: the generator's own result [1, 3, height, width].
        keep: weight of what was lost; 0: anything that is different will do.
        loss: beside the plain result's, what was lost. None, where no style is known: by how much, of its own size, the
            features' means and deviations left those of the plain result, as what they measure is what a style is.
    """

    def __init__(
        self,
        features: Features,
        plain: torch.Tensor,
        *,
        keep: float = 2.0,
        loss: Loss | None = None,
    ) -> None:
        with torch.no_grad():
            own = features(plain)
            self._least = None if loss is None else loss(own).mean().clamp(min=1e-8)
        self._features, self._keep, self._loss = features, keep, loss
        self._plain, self._statistics = unit(own), statistics(own)

    def __call__(self, results: torch.Tensor) -> torch.Tensor:
        """Return it."""
        found = self._features(results)
        units = unit(found)
        apart = pairwise(units) if len(results) > 1 else distances(units, self._plain)
        wanted = apart.clamp(min=1e-8).sqrt().mean()
        return wanted - self._keep * self._lost(found)

    def _lost(self, found: Sequence[torch.Tensor]) -> torch.Tensor:
        if self._loss is None:
            return _left(statistics(found), self._statistics)
        return self._loss(found).mean() / self._least


class Towards:
    """Near a reference picture: by statistics (its colours and textures) and, where asked, by places.

    Args:
        features: what is compared.
        reference: [1, 3, height, width], of any size if ``places`` is 0.
        places: weight of the distance place by place.
    """

    def __init__(self, features: Features, reference: torch.Tensor, *, places: float = 0.0) -> None:
        with torch.no_grad():
            found = features(reference)
        self._features, self._places = features, places
        self._units, self._statistics = unit(found), statistics(found)

    def __call__(self, results: torch.Tensor) -> torch.Tensor:
        """Return it."""
        found = self._features(results)
        value = -_left(statistics(found), self._statistics)
        if self._places:
            units = unit(found)
            near = [layer.expand_as(some) for layer, some in zip(self._units, units, strict=True)]
            value = value - self._places * distances(units, near).sqrt().mean()
        return value


class Along:
    """Along a direction in an embedding space: from the plain result's place to where a text or a picture points.

    The cosine between how results moved and the direction (StyleGAN-NADA's directional loss, Gal et al., 2022).

    Args:
        embed: pictures [n, 3, height, width] to [n, size].
        plain: the generator's own result.
        direction: [size], e.g. of "a watercolour" less that of "a picture".
    """

    def __init__(self, embed: Features | torch.nn.Module, plain: torch.Tensor, direction: torch.Tensor) -> None:
        with torch.no_grad():
            self._from = torch.nn.functional.normalize(_embedded(embed, plain), dim=1)
        self._embed, self._direction = embed, direction / direction.norm().clamp(min=1e-12)

    def __call__(self, results: torch.Tensor) -> torch.Tensor:
        """Return it."""
        moved = torch.nn.functional.normalize(_embedded(self._embed, results), dim=1) - self._from
        # A result that has not moved has no direction: it scores as how far along it gets, which has a gradient there.
        along = moved @ self._direction
        return (along / (moved.square().sum(dim=1) + 1e-6).sqrt() + along).mean()


def _embedded(embed: object, pictures: torch.Tensor) -> torch.Tensor:
    found = embed(pictures)  # type: ignore[operator]
    return found if isinstance(found, torch.Tensor) else found[0]


def _left(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
    """How far statistics [n, c] are from others [1, c], of their size: the mean over layers and pictures."""
    parts = [(a - b).square().mean(dim=1) / (b.square().mean() + 1e-8) for a, b in zip(found, wanted, strict=True)]
    return torch.stack(parts).mean()
