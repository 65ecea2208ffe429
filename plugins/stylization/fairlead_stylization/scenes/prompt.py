"""The visual prompt: what is added to a pattern before it is stylized, fitted to the scene (PNeSM, AAAI 2024).

A stylizer makes of an atlas what it makes of a picture; seen from a camera, parts of it are smaller, hidden, or side by
side as they are not in the atlas, and the view has less of the style than a picture of its own would have. The prompt
makes up for that. It is smooth, bounded, and all that is changed: the stylizer's weights and the geometry stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..diversity.features import Features, statistics
from ..diversity.search import Generate
from ..diversity.smooth import lattice_shape, spline_matrix
from ..errors import BadSetting
from .pattern import Pattern
from .scene import Scene
from .splatting import Splats

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PromptFitting:
    """How a prompt is fitted.

    Attributes:
        steps: of Adam.
        rate: of it, in colours of [0, 1] a step.
        bound: of the prompt's absolute value.
        cell: pixels of the atlas between two of its values.
        views: that each step looks at.
        content: weight of the distance to the first result: more keeps what is shown, less gives more of the style.
        seed: of which views are looked at.
    """

    steps: int = 12
    rate: float = 0.03
    bound: float = 0.25
    cell: int = 8
    views: int = 3
    content: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "rate", "bound", "cell", "views"):
            if not getattr(self, name) > 0:
                raise BadSetting(f"{name} {getattr(self, name)}; accepted: above 0")
        if self.content < 0:
            raise BadSetting(f"content {self.content}; accepted: 0 and above")


class PatternMap:
    """From an atlas to views, in torch: all of it is linear in the atlas, so that gradients come back.

    Args:
        pattern: where discs lie in the atlas.
        background: of views.
    """

    def __init__(self, pattern: Pattern, background: tuple[float, float, float]) -> None:
        columns, rows = pattern.grid
        self._shape = (rows * pattern.size[1], columns * pattern.size[0])
        corners = pattern.corners()
        self._places = [torch.from_numpy(y * self._shape[1] + x) for y, x, _ in corners]
        self._weights = [torch.from_numpy(weight) for _, _, weight in corners]
        self._background = torch.tensor(background)[:, None, None]

    def colours(self, atlas: torch.Tensor) -> torch.Tensor:
        """Discs' colours [3, discs] of an atlas [1, 3, height, width]."""
        flat = atlas[0].flatten(1)
        parts = zip(self._places, self._weights, strict=True)
        return torch.stack([(flat[:, place] * weight).sum(dim=2) for place, weight in parts]).sum(dim=0)

    def view(self, colours: torch.Tensor, splats: Splats) -> torch.Tensor:
        """A view [1, 3, height, width] of discs' colours [3, discs]."""
        width, height = splats.size
        shown = colours[:, torch.from_numpy(splats.discs).long()] * torch.from_numpy(splats.weights)
        view = torch.zeros(3, width * height).index_add(1, torch.from_numpy(splats.pixels).long(), shown)
        seen = torch.from_numpy(splats.seen)
        return torch.where(seen, view.reshape(3, height, width), self._background)[None]


def fit_prompt(
    scene: Scene,
    pattern: Pattern,
    views: Sequence[Splats],
    stylize: Generate,
    features: Features,
    style: torch.Tensor,
    fitting: PromptFitting | None = None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> F32:
    """Fit a prompt for a scene and a style.

    Args:
        scene, pattern: what is stylized, and its atlas.
        views: of the scene, some of which each step looks at.
        stylize: makes of an atlas [1, 3, height, width] the stylized one; its weights are not changed.
        features: what style and content are compared in.
        style: the style's picture [1, 3, any, any].
        fitting: how.
        progress: is told each step and its loss.

    Returns:
        The prompt float32 [height, width, 3], to be added to the atlas: the one with the least loss over all views.

    Raises:
        BadSetting: no view, or a loss that is not finite.
    """
    fitting = fitting or PromptFitting()
    if not views:
        raise BadSetting("views: none; accepted: at least one")
    plain = torch.from_numpy(pattern.atlas(scene.colours, scene.behind(pattern.size))).permute(2, 0, 1)[None]
    down, across = (torch.from_numpy(spline_matrix(side, fitting.cell)) for side in plain.shape[2:])
    lattice = torch.zeros(1, 3, *lattice_shape(*plain.shape[2:], fitting.cell), requires_grad=True)
    maps = PatternMap(pattern, scene.background)
    optimizer = torch.optim.Adam([lattice], fitting.rate, betas=(0.8, 0.95))
    with torch.no_grad():
        wanted = statistics(features(style))
        first = maps.colours(stylize(plain))
        shown = [features(maps.view(first, view)) for view in views]
    rng = np.random.default_rng(fitting.seed)
    best, least = lattice.detach().clone(), float("inf")
    smoothed: float | None = None
    for step in range(fitting.steps):
        prompt = fitting.bound * torch.tanh(down @ lattice @ across.T / fitting.bound)
        colours = maps.colours(stylize((plain + prompt).clamp(0, 1)))
        chosen = rng.choice(len(views), min(fitting.views, len(views)), replace=False)
        losses = [_loss(features(maps.view(colours, views[at])), shown[at], wanted, fitting.content) for at in chosen]
        loss = torch.stack(losses).mean()
        value = float(loss.detach())
        if not np.isfinite(value):
            raise BadSetting(f"step {step}: the loss is {value}; accepted: a stylizer with finite results")
        progress(step + 1, value)
        # Steps look at different views: a mean over some of them says which prompt was best.
        smoothed = value if smoothed is None else 0.6 * smoothed + 0.4 * value
        if smoothed < least:
            best, least = lattice.detach().clone(), smoothed
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        prompt = fitting.bound * torch.tanh(down @ best @ across.T / fitting.bound)
    return prompt[0].permute(1, 2, 0).numpy()


def _loss(
    found: Sequence[torch.Tensor], first: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], content: float
) -> torch.Tensor:
    style = [(a - b).square().mean() for a, b in zip(statistics(found), wanted, strict=True)]
    kept = [(a - b).square().mean() / (b.square().mean() + 1e-8) for a, b in zip(found, first, strict=True)]
    return torch.stack(style).sum() + content * torch.stack(kept).mean()
