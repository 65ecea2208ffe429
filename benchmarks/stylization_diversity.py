"""Different results of one generator: ``python -m benchmarks.stylization_diversity --vgg PATH``.

The shipped networks on a split's pictures, as the service searches and draws: feature distance of pairs
(unit-normalised VGG-19, which no search sees: it looks with the shipped refiner's small network, whose training VGG-19
judged, never on pictures of the test split), style loss and fine detail, beside random noise on the same lattice and by
pixels, drawn alike; and the time of a search.

The same budget is the same bound and the same norm. A search moves neighbouring values of its lattice together, which
splines flatten less than signs by chance: the noise on the lattice reaches further, until the root mean square of what
it changes is ours too (and never less far than the search does).

Noise by pixels of the whole bound leaves grain in the results, and grain is what feature distances see first: it is
promised for equal fine detail, so that this noise's bound is lowered until its results have as much as ours.

It is promised for equal style loss, too: where our results have more than the noise's, our bound is lowered until they
do not, and the noise keeps its own. What both get at the whole bound is told beside, and promises nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.stylizing.chosen import add_choice, chosen, described
from fairlead_stylization.diversity.request import BOUND, Search
from fairlead_stylization.diversity.search import random_results
from fairlead_stylization.networks.running import shipped_stylizer, student_file
from fairlead_stylization.pictures import read_picture
from fairlead_stylization.quality.similarity import high_frequency_energy
from fairlead_stylization.service.form import Asked
from fairlead_stylization.service.varied import APART_STEPS, CELL, STRETCH, Searcher
from fairlead_stylization.stylizer import NetworkStylizer, Style, StyleCode, whole

Picture = NDArray[np.float32]

SIDE, COUNT = 256, 4
#: Of noise, of the whole bound.
KINDS = {
    "lattice": "signs on the same lattice, as strong as ours",
    "weak": "signs on the same lattice, of the same reach",
    "pixels": "a sign for each pixel",
}
#: Of noise that searches for as little style loss are compared with.
PROMISED_KINDS = {
    "lattice": "signs on the same lattice, as strong as ours of the whole bound",
    "weak": "signs on the same lattice, of the same reach",
    "grain": "a sign for each pixel, its bound lowered to equal fine detail",
}
APART = (
    "pairwise feature distance at least 1.5x that of random noise of the same budget at equal style loss "
    "and equal high-frequency energy"
)
#: What is equal style loss, and equal fine detail: at most, and from and to.
SAME_STYLE, SAME_DETAIL = 1.05, (0.9, 1.1)
#: By how much a search's bound is lowered at a time, and how often at most.
LOWER, OFTEN = 0.8, 10
#: Steps of which it is promised how long they take.
PROMISED = 10
SPEED = f"{PROMISED} steps at {SIDE} px in <= 1.5 s"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--vgg", type=Path, help="VGG-19 (vgg_normalised) to relu3_1, which judges.")
    more.add_argument("--variant", default="edge", choices=["edge", "quality"])
    add_choice(more)
    options = parse("stylization_diversity", __doc__, repeats=3, quick=1, arguments=arguments, more=more)
    data = os.environ.get("FAIRLEAD_DATA")
    weights = student_file(options.more.variant)
    if data is None or options.more.vgg is None or not weights.exists():
        why = "FAIRLEAD_DATA, --vgg or the shipped weights are missing"
        missing = (("feature distance", "of 1", APART), ("a search", "s", SPEED))
        options.finish({}, [not_measured("diversity", metric, unit, promise, why) for metric, unit, promise in missing])
        return
    torch.set_num_threads(2)
    images = Path(data) / "images"
    contents, styles = _some(options, images, "content", 3), _some(options, images, "style", 2)
    rows = measured(options, contents, styles, weights)
    conditions = {
        "side": SIDE,
        "results": COUNT,
        "bound": BOUND,
        "threads": 2,
        **described(options.more, [*contents, *styles]),
    }
    options.finish({"variant": options.more.variant, **conditions}, rows)


def measured(options: Options, contents: list[Path], styles: list[Path], weights: Path) -> list[Row]:
    """Rows over all pairs of a content and a style."""
    from fairlead_stylization.checkpoints.vgg import read_vgg
    from fairlead_stylization.diversity.report import diversity
    from fairlead_stylization.quality.perceptual import LAYERS

    stylizer = shipped_stylizer(options.more.variant, 2)
    searchers = {steps: Searcher(weights, stylizer, steps=steps) for steps in sorted({PROMISED, APART_STEPS})}
    vgg = read_vgg(options.more.vgg)
    found: dict[str, list[tuple[float, float, float]]] = {}
    spent: dict[int, list[float]] = {steps: [] for steps in searchers}

    def judged(pictures: torch.Tensor) -> list[torch.Tensor]:
        return list(vgg(pictures, LAYERS).values())

    for content in contents:
        for style in styles:
            picture, look = _square(content), _square(style)
            target = _tensor(look)

            def lost(made: torch.Tensor, target: torch.Tensor = target) -> float:
                return diversity(made, judged, target).style_loss or 0.0

            tries = _tries(searchers[APART_STEPS], stylizer, picture, look, options.seed, lost)
            for name, made in tries.items():
                told = diversity(made, judged, target)
                figures = told.distance, told.style_loss or 0.0, told.high_frequency_energy
                found.setdefault(name, []).append(figures)
            for steps, times in spent.items():
                searcher = searchers[steps]
                times += [_seconds(searcher, picture, look, options.seed) for _ in range(1 + options.repeats)][1:]
    return [*_rows(found), *_times(spent)]


def _seconds(searcher: Searcher, picture: Picture, look: Picture, seed: int) -> float:
    """Of a search for one result; the first one of a searcher also loads its network."""
    began = time.perf_counter()
    _results(searcher, picture, look, _asked(1, seed))
    return time.perf_counter() - began


def _results(searcher: Searcher, picture: Picture, look: Picture, asked: Asked) -> tuple[list[Picture], dict[str, Any]]:
    """All results of a search, and its report."""
    made, report = searcher(picture, look, asked)
    return [whole(picture.shape, bands) for bands in made], report


def _times(spent: dict[int, list[float]]) -> list[Row]:
    """Ten steps are promised; what ships, if it takes others, is held to the same limit."""
    return [
        row("a search", f"one result, {steps} steps at {SIDE} px", "s", times, limit=1.5, promise=SPEED)
        for steps, times in spent.items()
    ]


def _some(options: Options, images: Path, kind: str, most: int) -> list[Path]:
    return chosen(options.more, images, kind)[: 1 if options.quick else most]


def _asked(count: int, seed: int, bound: float = BOUND) -> Asked:
    """A request for that many results."""
    return Asked(b"", (), None, (1.0,), 1.0, False, count, seed, bound, "PNG", 92)


def _tries(
    searcher: Searcher,
    stylizer: NetworkStylizer,
    picture: Picture,
    look: Picture,
    seed: int,
    lost: Callable[[torch.Tensor], float],
) -> dict[str, torch.Tensor]:
    """Results of the search and of each kind of noise, and of searches for as little style loss: `lost` tells it."""
    code, wanted = stylizer.encode_style(look), Search(count=COUNT, cell=CELL, seed=seed, stretch=STRETCH)
    made, told = _results(searcher, picture, look, _asked(COUNT, seed))
    ours, draw, content = torch.cat([_tensor(one) for one in made]), _drawing(stylizer, code), _tensor(picture)

    def noise(bound: float) -> torch.Tensor:
        return random_results(draw, content, replace(wanted, bound=bound), smooth=False).results

    asked = {"lattice": _as_strong(content, wanted, told["change"]), "weak": wanted}
    smooth = {name: random_results(draw, content, one, smooth=True).results for name, one in asked.items()}

    @cache
    def weaker(times: int) -> torch.Tensor:
        asked = _asked(COUNT, seed, BOUND * LOWER**times)
        return torch.cat([_tensor(one) for one in _results(searcher, picture, look, asked)[0]])

    tries = {"search": ours, **smooth, "pixels": noise(wanted.bound)}
    for kind in PROMISED_KINDS:
        fixed = smooth.get(kind)
        calm, made = _as_near(weaker, lambda calm, fixed=fixed: _as_fine(calm, noise) if fixed is None else fixed, lost)
        tries |= {f"calm {kind}": calm, f"promised {kind}": made}
    return tries


def _as_near(
    weaker: Callable[[int], torch.Tensor],
    noise: Callable[[torch.Tensor], torch.Tensor],
    lost: Callable[[torch.Tensor], float],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Results of a search that is made weaker until they have no more style loss than noise's, and noise's."""
    for times in range(OFTEN + 1):
        calm = weaker(times)
        made = noise(calm)
        if lost(calm) <= SAME_STYLE * lost(made):
            break
    return calm, made


def _as_strong(content: torch.Tensor, wanted: Search, norm: float, steps: int = 10) -> Search:
    """What noise on the lattice has to be asked for, so that the root mean square of its changes is at least that."""

    def weaker(stretch: float) -> bool:
        found = random_results(lambda pictures: pictures, content, replace(wanted, stretch=stretch), smooth=True)
        return float((found.inputs - content).square().mean().sqrt()) < norm

    least, most = wanted.stretch, 16 * wanted.stretch
    if not weaker(least):
        return wanted
    for _ in range(steps):
        middle = (least * most) ** 0.5
        least, most = (middle, most) if weaker(middle) else (least, middle)
    return replace(wanted, stretch=most)


def _drawing(stylizer: NetworkStylizer, code: StyleCode) -> Callable[[torch.Tensor], torch.Tensor]:
    """Pictures [n, 3, h, w] in a style, as the service draws them."""

    def draw(pictures: torch.Tensor) -> torch.Tensor:
        return torch.cat([_tensor(stylizer.stylize(_pixels(one), [Style(code)])) for one in pictures])

    return draw


def _tensor(picture: Picture) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))


def _pixels(picture: torch.Tensor) -> Picture:
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())


def _as_fine(ours: torch.Tensor, noise: Callable[[float], torch.Tensor], steps: int = 7) -> torch.Tensor:
    """Results of noise whose bound, halved and halved again, gives them as much fine detail as ours have."""
    wanted, least, most = _fineness(ours), 0.0, BOUND
    made = noise(most)
    for _ in range(steps):
        middle = (least + most) / 2
        made = noise(middle)
        least, most = (middle, most) if _fineness(made) < wanted else (least, middle)
    return made


def _fineness(results: torch.Tensor) -> float:
    return float(np.mean([high_frequency_energy(picture) for picture in results.permute(0, 2, 3, 1).numpy()]))


def _rows(found: dict[str, list[tuple[float, float, float]]]) -> list[Row]:
    promised = [_row(found, f"calm {kind}", f"promised {kind}", told, APART) for kind, told in PROMISED_KINDS.items()]
    return promised + [_row(found, "search", kind, f"{told}; whole bounds", None) for kind, told in KINDS.items()]


def _row(
    found: dict[str, list[tuple[float, float, float]]], search: str, noise: str, told: str, promise: str | None
) -> Row:
    """How much further apart a search's results are than noise's, by means over all pairs."""
    ours, peer = ([value[0] for value in found[name]] for name in (search, noise))
    ratio, style, energy = np.mean(found[search], axis=0) / np.mean(found[noise], axis=0)
    note = f"{ratio:.2f}x by the means, at {style:.2f}x its style loss and {energy:.2f}x its high-frequency energy"
    item = row(f"against random noise, {told}", "mean feature distance of pairs", "of 1", ours, peer, better="more",
               promise=promise, note=note)  # fmt: skip
    holds = ratio >= 1.5 and style <= SAME_STYLE and SAME_DETAIL[0] <= energy <= SAME_DETAIL[1]
    return replace(item, holds=None if promise is None else bool(holds))


def _square(path: Path) -> Picture:
    pixels = read_picture(path).pixels
    side = min(pixels.shape[:2])
    return _pixels(torch.nn.functional.interpolate(_tensor(pixels[:side, :side]), size=(SIDE, SIDE), mode="area")[0])


if __name__ == "__main__":
    main()
