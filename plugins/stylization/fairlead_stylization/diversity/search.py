"""The search with gradients: any torch generator, no change to it.

Each step moves the lattice's values by the sign of the objective's gradient, within their reach (AAAI 2024, Alg. 1),
with momentum (Dong et al., CVPR 2018); the change that they make is bent to stay within the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch

from ..errors import BadPicture, BadSetting
from .objectives import Objective
from .request import Search
from .smooth import lattice_shape, spline_matrix

#: Pictures [n, 3, height, width] in [0, 1] to results [n, 3, any, any] in [0, 1].
Generate = Callable[[torch.Tensor], torch.Tensor]
#: Of a step's slope that the next one still goes by: places whose slopes turn with every step come to rest.
MOMENTUM = 0.3


@dataclass(frozen=True, slots=True)
class Found:
    """Several results.

    Attributes:
        results: float32 [count, 3, height, width].
        inputs: what they were made of, [count, 3, height, width].
        objective: after each step.
    """

    results: torch.Tensor
    inputs: torch.Tensor
    objective: tuple[float, ...]


def search(
    generate: Generate,
    picture: torch.Tensor,
    objective: Objective,
    wanted: Search,
    *,
    fixed: torch.Tensor | None = None,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda step: None,
) -> Found:
    """Look for inputs near a picture whose results are what the objective wants.

    Args:
        generate: deterministic, differentiable by its input, of several pictures at once.
        picture: [1, 3, height, width] in [0, 1].
        objective: of all results together.
        wanted: how many, how far, how long.
        fixed: [height, width], 1 where the picture must stay as it is (what a hole's surroundings show).
        stopped: asked before each step; a search that is stopped returns the best that there is.
        progress: is told the steps that are done.

    Raises:
        BadPicture: the picture is not finite or of another shape.
        BadSetting: the generator's results are not finite, or no gradient comes through it.
    """
    _require_picture(picture)
    height, width = picture.shape[2:]
    rows, columns = lattice_shape(height, width, wanted.cell)
    generator = torch.Generator().manual_seed(wanted.seed)
    # A gradient of the distance between equal results is nothing: the search begins at random places, half way out.
    lattice = (_opposed(wanted.count, rows, columns, generator) * wanted.reach * 0.5).to(picture.device)
    free = None if fixed is None else (1 - fixed.to(picture))[None, None]
    best, made, best_value, told = lattice, None, float("-inf"), []
    pull = torch.zeros_like(lattice)
    for step in range(wanted.steps + 1):
        lattice.requires_grad_(step < wanted.steps)
        results = generate(_perturbed(picture, _bent(lattice, picture, wanted), free))
        value = objective(results)
        told.append(float(value.detach()))
        if not isfinite(told[-1]):
            raise BadSetting(f"step {step}: the objective is {told[-1]}; accepted: a generator with finite results")
        if told[-1] > best_value:
            best, made, best_value = lattice.detach(), results.detach(), told[-1]
        progress(step)
        if step == wanted.steps or stopped():
            break
        pull = MOMENTUM * pull + _slope(value, lattice)
        lattice = (lattice.detach() + wanted.step_size(step) * pull.sign()).clamp(-wanted.reach, wanted.reach)
    assert made is not None
    with torch.no_grad():
        return Found(made, _perturbed(picture, _bent(best, picture, wanted), free), tuple(told))


def random_results(generate: Generate, picture: torch.Tensor, wanted: Search, *, smooth: bool) -> Found:
    """Results of random perturbations of the same bound: what a search has to beat.

    Args:
        generate, picture, wanted: as in `search`.
        smooth: by signs on the same lattice; else by a sign of each pixel.
    """
    _require_picture(picture)
    cell = wanted.cell if smooth else 1
    rows, columns = lattice_shape(*picture.shape[2:], cell)
    generator = torch.Generator().manual_seed(wanted.seed)
    signs = (torch.rand(wanted.count, 3, rows, columns, generator=generator) < 0.5).float() * 2 - 1
    signs = signs.to(picture.device)
    with torch.no_grad():
        # Of a lattice with the reach that a search has, bent back as there.
        change = (
            _bent(signs * wanted.reach, picture, wanted) if smooth else _spread(signs * wanted.bound, picture, cell)
        )
        inputs = _perturbed(picture, change, None)
        return Found(generate(inputs), inputs, ())


def _opposed(count: int, rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """Random signs [count, 3, rows, columns], at each place half of them up and half down.

    More pairs differ there than do of independent signs: of four results four pairs in six, and not three.
    """
    order = torch.rand(count, 3, rows, columns, generator=generator).argsort(dim=0)
    # Of an odd number the odd one is up or down by chance.
    most = (count + (torch.rand(3, rows, columns, generator=generator) < 0.5).long()) // 2
    return (order < most).float() * 2 - 1


def _slope(value: torch.Tensor, lattice: torch.Tensor) -> torch.Tensor:
    """Of the objective, for each result of the same size: late steps count as much as early ones."""
    (gradient,) = torch.autograd.grad(value, lattice, allow_unused=True)
    if gradient is None:
        raise BadSetting("generator: no gradient reaches its input; accepted: one that is differentiable, or ONNX")
    gradient = gradient.nan_to_num()
    return gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)


def _bent(lattice: torch.Tensor, picture: torch.Tensor, wanted: Search) -> torch.Tensor:
    """The change that a lattice makes, within the bound, [count, 3, height, width]; as `smooth.bent`."""
    return wanted.bound * (_spread(lattice, picture, wanted.cell) / wanted.bound).tanh()


def _spread(lattice: torch.Tensor, picture: torch.Tensor, cell: int) -> torch.Tensor:
    down, across = (torch.from_numpy(spline_matrix(side, cell)).to(picture) for side in picture.shape[2:])
    return down @ lattice @ across.T


def _perturbed(picture: torch.Tensor, change: torch.Tensor, free: torch.Tensor | None) -> torch.Tensor:
    return (picture + (change if free is None else change * free)).clamp(0, 1)


def _require_picture(picture: torch.Tensor) -> None:
    if picture.ndim != 4 or picture.shape[:2] != (1, 3) or not torch.isfinite(picture).all():
        raise BadPicture(f"picture {tuple(picture.shape)}; accepted: finite values [1, 3, height, width]")
