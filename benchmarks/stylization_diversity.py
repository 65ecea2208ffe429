"""Different results of one generator: ``python -m benchmarks.stylization_diversity --vgg PATH``.

The shipped network on a split's pictures: feature distance of pairs (unit-normalised VGG-19, which the search never
sees: it looks with the network's own encoder), style loss and fine detail, beside random noise of the same bound, by
pixels and on the same lattice; and the time of a search.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, not_measured, row
from fairlead_stylization.networks.running import WEIGHTS
from fairlead_stylization.pictures import read_picture
from fairlead_stylization.quality.split import split_pictures

SIDE, COUNT = 256, 4
APART = (
    "pairwise feature distance at least 1.5x that of random noise of the same budget at equal style loss "
    "and equal high-frequency energy"
)
SPEED = "10 steps at 256 px in <= 1.5 s"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--vgg", type=Path, help="VGG-19 (vgg_normalised) to relu3_1, which judges.")
    more.add_argument("--variant", default="edge", choices=["edge", "quality"])
    more.add_argument("--split", choices=["dev", "test"], default="dev", help="test: for the last measurement")
    options = parse("stylization_diversity", __doc__, repeats=3, quick=1, arguments=arguments, more=more)
    data = os.environ.get("FAIRLEAD_DATA")
    weights = WEIGHTS / f"{options.more.variant}.safetensors"
    if data is None or options.more.vgg is None or not weights.exists():
        why = "FAIRLEAD_DATA, --vgg or the shipped weights are missing"
        options.finish({}, [not_measured("diversity", "feature distance", "of 1", APART, why)])
        return
    torch.set_num_threads(2)
    rows = measured(options, Path(data) / "images", weights)
    conditions = {"side": SIDE, "results": COUNT, "bound": 0.15, "threads": 2, "split": options.more.split}
    options.finish({"variant": options.more.variant, **conditions}, rows)


def measured(options: Options, images: Path, weights: Path) -> list[Row]:
    """Rows over all pairs of a content and a style."""
    from fairlead_stylization.checkpoints.vgg import read_vgg
    from fairlead_stylization.diversity.generators.stylization import StyleTransfer
    from fairlead_stylization.diversity.objectives import Spread
    from fairlead_stylization.diversity.report import diversity
    from fairlead_stylization.diversity.request import Search
    from fairlead_stylization.diversity.search import random_results, search
    from fairlead_stylization.networks.running import read_student
    from fairlead_stylization.quality.perceptual import LAYERS

    student = read_student(weights, options.more.variant).requires_grad_(False)
    vgg = read_vgg(options.more.vgg)
    found: dict[str, list[tuple[float, float, float]]] = {"search": [], "pixels": [], "lattice": []}
    spent: list[float] = []
    contents, styles = _of_split(options, images, "content", 3), _of_split(options, images, "style", 2)
    for content in contents:
        for style in styles:
            picture, look = _square(content), _square(style)
            generate = StyleTransfer(student, look)

            def judged(pictures: torch.Tensor) -> list[torch.Tensor]:
                return list(vgg(pictures, LAYERS).values())

            with torch.no_grad():
                plain = generate(picture)
            objective = Spread(student.encoder, plain)
            wanted = Search(count=COUNT, seed=options.seed)
            tries = {
                "search": search(generate, picture, objective, wanted),
                "pixels": random_results(generate, picture, wanted, smooth=False),
                "lattice": random_results(generate, picture, wanted, smooth=True),
            }
            for name, made in tries.items():
                told = diversity(made.results, judged, look)
                found[name].append((told.distance, told.style_loss or 0.0, told.high_frequency_energy))
            for _ in range(options.repeats):
                began = time.perf_counter()
                once = StyleTransfer(student, look)
                search(once, picture, Spread(student.encoder, once(picture)), Search(count=1, seed=options.seed))
                spent.append(time.perf_counter() - began)
    return [*_rows(found), row("a search", "one result, 10 steps at 256 px", "s", spent, limit=1.5, promise=SPEED)]


def _of_split(options: Options, images: Path, kind: str, most: int) -> list[Path]:
    development, test = split_pictures(images / kind)
    return (test if options.more.split == "test" else development)[: 1 if options.quick else most]


def _rows(found: dict[str, list[tuple[float, float, float]]]) -> list[Row]:
    means = {name: np.mean(values, axis=0) for name, values in found.items()}
    rows = []
    for name, kind in (("pixels", "a sign for each pixel"), ("lattice", "signs on the same lattice")):
        style, energy = (float(means["search"][at] / means[name][at]) for at in (1, 2))
        ratio = float(means["search"][0] / means[name][0])
        ours, peer = ([value[0] for value in found[key]] for key in ("search", name))
        note = f"at {style:.2f}x its style loss and {energy:.2f}x its high-frequency energy"
        item = row(f"against random noise, {kind}", "mean feature distance of pairs", "of 1", ours, peer, better="more",
                   promise=APART, note=note)  # fmt: skip
        holds = ratio >= 1.5 and style <= 1.05 and 0.9 <= energy <= 1.1
        rows.append(Row(**{**{field: getattr(item, field) for field in Row.__slots__}, "holds": holds}))
    return rows


def _square(path: Path) -> torch.Tensor:
    pixels = read_picture(path).pixels
    side = min(pixels.shape[:2])
    tensor = torch.from_numpy(np.ascontiguousarray(pixels[:side, :side].transpose(2, 0, 1)[None]))
    return torch.nn.functional.interpolate(tensor, size=(SIDE, SIDE), mode="area")


if __name__ == "__main__":
    main()
