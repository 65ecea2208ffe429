"""Inpainting and colorization by the shipped small networks: ``python -m benchmarks.stylization_generators``.

How near completed pictures are to the real ones, beside simple means: a hole filled with the mean of what is known,
as a membrane (which the network begins with), by Telea's and the Navier-Stokes way (OpenCV) and biharmonically
(scikit-image, where it is installed); colours left away, one tint for all, and each picture's own mean colour, which a
method cannot know. And how different four results of a search are from each other, beside random noise on the same
lattice that is as strong as what the search changes: by VGG-19's features where ``--vgg`` names a file (no search sees
them), else by those that the search looks with. ``--sheet`` draws two pictures, for people.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.options import parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.stylizing.chosen import add_choice, chosen, described
from fairlead_stylization.diversity.features import Features, pairwise, unit
from fairlead_stylization.diversity.generators.completing import BOUND, CELLS, STRETCH, Completer, Task, is_grey
from fairlead_stylization.diversity.generators.examples import holes
from fairlead_stylization.diversity.request import Search
from fairlead_stylization.diversity.search import Found, random_results
from fairlead_stylization.pictures import read_picture
from fairlead_stylization.quality.similarity import high_frequency_energy, structural_similarity

Array = NDArray[np.float32]
Fill = Callable[[Array, Array], Array]

SIDE, COUNT, HOLES = 256, 4, 3
#: Of a picture's side on a sheet, in pixels.
DRAWN = 144
APART = "pairwise feature distance above that of random noise as strong at an error no greater and as much fine detail"
NEARER = "nearer to the real picture than the simple means"
#: Mean of what red, green and blue are above the luminance, over the 66 pictures that the colorization was trained on.
TINT = np.array((0.0187, -0.0039, -0.0288), np.float32)
#: What scikit-image does.
BIHARMONIC = "biharmonic filling"
#: Of how near and how different results are, in a search's row.
_HOLDS = {"error": 1.02, "detail": 1.1}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--vgg", type=Path, help="VGG-19 (vgg_normalised) to relu3_1, which judges differences.")
    more.add_argument("--sheet", type=Path, help="A file to draw the first two pictures in.")
    add_choice(more)
    options = parse("stylization_generators", __doc__, repeats=1, quick=1, arguments=arguments, more=more)
    data = os.environ.get("FAIRLEAD_DATA")
    if data is None and options.more.pictures is None:
        why = "FAIRLEAD_DATA is missing"
        metrics = (("inpainting", "PSNR", "dB", NEARER), ("diversity", "feature distance", "of 1", APART))
        options.finish({}, [not_measured(*metric, why) for metric in metrics])
        return
    torch.set_num_threads(2)
    paths = chosen(options.more, Path(data or "") / "images", "content")[: 2 if options.quick else None]
    pictures = [picture for picture in map(_square, paths) if not is_grey(picture)]
    rng = np.random.default_rng(options.seed)
    unknown = [holes(HOLES, SIDE, rng)[:, 0].numpy() for _ in pictures]
    features = _judge(options.more.vgg)
    rows = [
        *inpainting_rows(pictures, unknown, features),
        *colorization_rows(pictures),
        *diverse_rows("inpainting", pictures, unknown, features, options.seed),
        *diverse_rows("colorization", pictures, unknown, features, options.seed),
    ]
    if options.more.sheet is not None:
        draw(options.more.sheet, pictures[:2], [several[0] for several in unknown[:2]], options.seed)
    judge = "the search's own features" if options.more.vgg is None else "VGG-19"
    conditions = {"side": SIDE, "holes": HOLES, "results": COUNT, "bound": BOUND, "judge": judge}
    options.finish({**conditions, **described(options.more, paths)}, rows)


def inpainting_rows(pictures: list[Array], unknown: list[Array], features: Features | None = None) -> list[Row]:
    """PSNR in holes, SSIM of pictures and how far the texture of holes is off, textured and by each other means."""
    completer, rows = Completer("inpainting"), []
    looks = features or completer.features
    pairs = [(picture, hole) for picture, several in zip(pictures, unknown, strict=True) for hole in several]
    ours = [_nearness(completer.one(picture, hole), picture, hole, looks) for picture, hole in pairs]
    for name, fill in _fills(completer).items():
        theirs = [_nearness(fill(picture, hole), picture, hole, looks) for picture, hole in pairs]
        kinds = (("PSNR in the hole", "dB", "more"), ("SSIM", "of 1", "more"), ("error of texture", "of 1", "less"))
        for place, (metric, metric_unit, better) in enumerate(kinds):
            mine, peer = ([values[place] for values in found] for found in (ours, theirs))
            note = f"means {np.mean(mine):.3f}, {np.mean(peer):.3f}"
            gain = float(np.mean(mine) - np.mean(peer)) * (-1 if better == "less" else 1)
            rows.append(_judged(row(f"inpainting beside {name}", metric, metric_unit, mine, peer, better=better,
                                    promise=NEARER, note=note), gain > 0))  # fmt: skip
    if BIHARMONIC not in _fills(completer):
        rows.append(Row(f"inpainting beside {BIHARMONIC}", "PSNR in the hole", "dB", None, note="no scikit-image"))
    return rows


def colorization_rows(pictures: list[Array]) -> list[Row]:
    """Error of colours, PSNR and SSIM, of the network, of grey, of one tint for all and of one that nobody knows."""
    completer, rows = Completer("colorization"), []
    ours = [_coloured(completer.one(picture), picture) for picture in pictures]
    peers = {
        "grey": _grey,
        "the mean tint of what it was trained on": _tinted,
        "each one's own mean colour": _one_colour,
    }
    for name, colour in peers.items():
        theirs = [_coloured(colour(picture), picture) for picture in pictures]
        kinds = (("error of a and b", "CIELAB", "less"), ("PSNR", "dB", "more"), ("SSIM", "of 1", "more"))
        for place, (metric, metric_unit, better) in enumerate(kinds):
            mine, peer = ([values[place] for values in found] for found in (ours, theirs))
            note = f"means {np.mean(mine):.3f}, {np.mean(peer):.3f}"
            gain = float(np.mean(mine) - np.mean(peer)) * (-1 if better == "less" else 1)
            rows.append(_judged(row(f"colorization beside {name}", metric, metric_unit, mine, peer,
                                    better=better, promise=NEARER, note=note), gain > 0))  # fmt: skip
    return rows


@dataclass(frozen=True, slots=True)
class _Several:
    """Results of one picture: distance of pairs, root mean square error to the real picture, fine detail."""

    distance: float
    error: float
    detail: float


def diverse_rows(
    kind: str, pictures: list[Array], unknown: list[Array], features: Features | None, seed: int
) -> list[Row]:
    """Four results of a search beside four of noise."""
    completer = Completer(kind)  # type: ignore[arg-type]
    features = features or completer.features
    found: dict[str, list[_Several]] = {"search": [], "noise": []}
    for picture, several in zip(pictures, unknown, strict=True):
        hole = several[0] if kind == "inpainting" else None
        task = completer.task(picture, hole)
        wanted = Search(COUNT, BOUND, cell=CELLS[completer.kind], seed=seed, stretch=STRETCH)
        ours, _ = completer.searched(task, wanted)
        for name, one in (("search", ours), ("noise", as_strong_noise(task, wanted, ours))):
            found[name].append(_measured(one, picture, hole, features))
    return [_beside(kind, found)]


def as_strong_noise(task: Task, wanted: Search, ours: Found, steps: int = 10) -> Found:
    """Results of random signs on the lattice, reaching as far as makes their changes as strong as a search's."""
    norm, least, most = _norm(ours, task), wanted.stretch, 16 * wanted.stretch
    while steps > 0:
        middle = (least * most) ** 0.5
        weaker = _norm(_noise(task, replace(wanted, stretch=middle), plain=True), task) < norm
        least, most, steps = (middle, most, steps - 1) if weaker else (least, middle, steps - 1)
    return _noise(task, replace(wanted, stretch=most))


def _noise(task: Task, wanted: Search, *, plain: bool = False) -> Found:
    def generate(several: torch.Tensor) -> torch.Tensor:
        free = task.changed(several - task.begun)
        return free if plain else task.generate(free)

    found = random_results(generate, task.begun, wanted, smooth=True)
    return replace(found, inputs=task.changed(found.inputs - task.begun))


def _norm(found: Found, task: Task) -> float:
    return float((found.inputs - task.begun).square().mean().sqrt())


def _measured(found: Found, picture: Array, hole: Array | None, features: Features) -> _Several:
    with torch.no_grad():
        distance = float(pairwise(unit(features(found.results))).mean())
    results = found.results.permute(0, 2, 3, 1).numpy()
    where = np.ones(picture.shape[:2]) if hole is None else hole
    errors = [float((((one - picture) ** 2).mean(axis=2) * where).sum() / where.sum()) for one in results]
    return _Several(
        distance, float(np.mean(errors)) ** 0.5, float(np.mean([high_frequency_energy(one) for one in results]))
    )


def _beside(kind: str, found: dict[str, list[_Several]]) -> Row:
    ours, noise = ([one.distance for one in found[name]] for name in ("search", "noise"))
    ratio = float(np.mean(ours) / np.mean(noise))
    share = {
        name: float(
            np.mean([getattr(one, name) for one in found["search"]])
            / np.mean([getattr(one, name) for one in found["noise"]])
        )
        for name in _HOLDS
    }
    note = f"{ratio:.2f}x by the means, at {share['error']:.3f}x its error and {share['detail']:.2f}x its fine detail"
    item = row(f"{kind}, {COUNT} results beside noise as strong", "mean feature distance of pairs", "of 1", ours, noise,
               better="more", promise=APART, note=note)  # fmt: skip
    return _judged(item, ratio > 1 and all(share[name] <= most for name, most in _HOLDS.items()))


def draw(path: Path, pictures: list[Array], unknown: list[Array], seed: int) -> None:
    """Two rows a picture: it, its hole, a membrane, the network's fill, four others; the same of its colours."""
    rows = []
    for picture, hole in zip(pictures, unknown, strict=True):
        filled = np.where(hole[..., None] > 0, np.float32(1), picture)
        for kind, known, where in (("inpainting", filled, hole), ("colorization", _grey(picture), None)):
            completer = Completer(kind)  # type: ignore[arg-type]
            wanted = Search(COUNT, BOUND, cell=CELLS[completer.kind], seed=seed, stretch=STRETCH)
            begun = completer.task(picture, where).begun[0].permute(1, 2, 0).numpy()
            made, _ = completer.several(picture, where, wanted=wanted)
            rows.append(np.concatenate([picture, known, begun, completer.one(picture, where), *made], axis=1))
    whole = Image.fromarray((np.concatenate(rows) * 255 + 0.5).astype(np.uint8))
    whole.resize((whole.width * DRAWN // SIDE, whole.height * DRAWN // SIDE), Image.Resampling.LANCZOS).save(
        path, quality=85
    )


def _judged(item: Row, holds: bool) -> Row:
    return replace(item, holds=holds)


def _judge(vgg: Path | None) -> Features | None:
    if vgg is None:
        return None
    from fairlead_stylization.checkpoints.vgg import read_vgg
    from fairlead_stylization.quality.perceptual import LAYERS

    network = read_vgg(vgg)
    return lambda pictures: list(network(pictures, LAYERS).values())


def _fills(completer: Completer) -> dict[str, Fill]:
    """Simple means by name: of a picture and its hole to a picture."""

    def smoothly(picture: Array, hole: Array) -> Array:
        return completer.task(picture, hole).begun[0].permute(1, 2, 0).numpy()

    def as_smooth(picture: Array, hole: Array) -> Array:
        return completer.one(picture, hole, finish="smooth")

    found: dict[str, Fill] = {"the smooth finish": as_smooth, "the mean of what is known": _mean_fill,
                              "a membrane": smoothly, **_opencv()}  # fmt: skip
    try:
        from skimage.restoration import inpaint_biharmonic  # type: ignore[import-not-found]
    except ImportError:
        return found
    return found | {BIHARMONIC: lambda picture, hole: _within(inpaint_biharmonic(picture, hole > 0, channel_axis=2))}


def _opencv() -> dict[str, Fill]:
    try:
        import cv2
    except ImportError:
        return {}

    def by(way: int) -> Fill:
        def fill(picture: Array, hole: Array) -> Array:
            return (
                cv2.inpaint((picture * 255 + 0.5).astype(np.uint8), hole.astype(np.uint8), 5, way).astype(np.float32)
                / 255
            )

        return fill

    return {"Telea's way": by(cv2.INPAINT_TELEA), "the Navier-Stokes way": by(cv2.INPAINT_NS)}


def _within(picture: NDArray[np.floating]) -> Array:
    return np.clip(picture, 0, 1).astype(np.float32)


def _mean_fill(picture: Array, hole: Array) -> Array:
    return np.where(hole[..., None] > 0, picture[hole == 0].mean(axis=0), picture)


def _nearness(made: Array, picture: Array, hole: Array, features: Features) -> tuple[float, float, float]:
    """PSNR in the hole, SSIM of the whole picture, error of texture in the hole."""
    nearness = _psnr(made[hole > 0], picture[hole > 0]), structural_similarity(made, picture)
    return *nearness, texture_error(made, picture, hole, features)


def texture_error(made: Array, picture: Array, hole: Array, features: Features) -> float:
    """Distance of the features' Gram matrices in a hole to the real picture's, of these' norms, mean over layers."""
    both = torch.from_numpy(np.stack([made, picture]).transpose(0, 3, 1, 2).copy())
    found = []
    with torch.no_grad():
        for layer in features(both):
            where = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(hole)[None], layer.shape[2:])[0] > 0.5
            ours, real = (one[:, where] @ one[:, where].T for one in layer)
            if where.any():
                found.append(float((ours - real).norm() / real.norm().clamp(min=1e-6)))
    return float(np.mean(found)) if found else 0.0


def _coloured(made: Array, picture: Array) -> tuple[float, float, float]:
    """Mean distance of a and b in CIELAB, PSNR, SSIM."""
    apart = lab(made)[..., 1:] - lab(picture)[..., 1:]
    return float(np.sqrt((apart**2).sum(axis=2)).mean()), _psnr(made, picture), structural_similarity(made, picture)


def _psnr(made: Array, picture: Array) -> float:
    return float(-10 * np.log10(max(1e-10, np.mean((made.astype(np.float64) - picture) ** 2))))


def lab(picture: Array) -> NDArray[np.float64]:
    """SRGB [..., 3] in [0, 1] to CIELAB (D65)."""
    linear = np.where(picture <= 0.04045, picture / 12.92, ((picture.astype(np.float64) + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    )
    shares = linear @ matrix.T / np.array((0.95047, 1.0, 1.08883))
    roots = np.where(shares > (6 / 29) ** 3, np.cbrt(shares), shares / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _luminance(picture: Array) -> Array:
    return picture @ np.array((0.299, 0.587, 0.114), np.float32)


def _grey(picture: Array) -> Array:
    return np.repeat(_luminance(picture)[..., None], 3, axis=2)


def _tinted(picture: Array) -> Array:
    return np.clip(_grey(picture) + TINT, 0, 1)


def _one_colour(picture: Array) -> Array:
    grey = _grey(picture)
    return np.clip(grey + (picture - grey).mean(axis=(0, 1)), 0, 1)


def _square(path: Path) -> Array:
    pixels = read_picture(path).pixels
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    tensor = torch.from_numpy(np.ascontiguousarray(pixels[top : top + side, left : left + side].transpose(2, 0, 1)))[
        None
    ]
    small = torch.nn.functional.interpolate(tensor, size=(SIDE, SIDE), mode="area")
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())


if __name__ == "__main__":
    main()
