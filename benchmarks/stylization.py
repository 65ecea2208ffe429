"""Stylization beside the field's networks: ``python -m benchmarks.stylization --data PATH``.

Content loss, style loss (VGG-19, relu1_1 to relu3_1) and SSIM at 256 pixels, over all pairs of a split's contents and
paintings, with strengths swept and drawn; the time for 512 pixels on two threads, in turn with MicroAST in ONNX Runtime
and Magenta in TensorFlow Lite; the local stage's share; the memory of a process for 3840 x 2160. The test split is for
the last measurement: whoever changes a network looks at the development split.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.stylizing.chosen import add_choice, chosen, described
from benchmarks.stylizing.magenta import MISSING, Magenta, is_here
from benchmarks.stylizing.methods import OURS, THREADS, Method, Picture, methods, microast_in_onnx, shipped
from benchmarks.stylizing.stages import large_picture, local_share
from benchmarks.stylizing.verdicts import verdicts
from fairlead_stylization.checkpoints.vgg import read_vgg
from fairlead_stylization.networks.running import shipped_stylizer
from fairlead_stylization.quality.perceptual import Judge
from fairlead_stylization.quality.similarity import structural_similarity
from fairlead_stylization.quality.split import split_pictures
from fairlead_stylization.stylizer import NetworkStylizer, Style

SIDE, LARGE = 256, 512
Figures = dict[str, dict[float, tuple[float, float, float]]]
PAUSE_S = 0.1
PLOT = Path(__file__).parents[1] / "docs" / "stylization" / "losses.png"
SHARE = "the local stage costs <= 25 % of the whole"
MEMORY = "3840x2160 within 1 GiB of memory"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    more = argparse.ArgumentParser(add_help=False)
    data = os.environ.get("FAIRLEAD_DATA")
    told = "folder with images and style_models; default: FAIRLEAD_DATA"
    more.add_argument("--data", type=Path, default=data and Path(data), required=data is None, help=told)
    add_choice(more)
    more.add_argument("--plot", type=Path, default=PLOT, help="PNG of style loss against content loss")
    more.add_argument("--strengths", type=int, default=8, help="how many, evenly spaced up to 1")
    options = parse("stylization", __doc__, repeats=20, quick=2, arguments=arguments, more=more)
    torch.set_num_threads(THREADS)
    contents, styles = pictures(options, "content"), pictures(options, "style")
    figures = qualities(options, contents, styles)
    rows = [*speed(options, contents[0], styles[0]), *costs(options), *quality_rows(figures), *verdicts(figures)]
    if not options.quick:
        plot(figures, options.more.plot)
    files = [path for kind in ("content", "style") for path in _files(options, kind)]
    told = {**described(options.more, files), "contents": len(contents), "styles": len(styles), "threads": THREADS}
    options.finish(told, rows)
    return 0


def pictures(options: Options, kind: str, side: int = SIDE) -> list[Picture]:
    """Those chosen, cut square and made small."""
    return [_square(path, side) for path in _files(options, kind)]


def _files(options: Options, kind: str) -> list[Path]:
    found = chosen(options.more, options.more.data / "images", kind)
    return found[:2] if options.quick else found


def _square(path: Path, side: int) -> Picture:
    with Image.open(path) as file:
        picture = file.convert("RGB")
    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    cut = picture.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(cut, np.float32) / 255


def qualities(options: Options, contents: list[Picture], styles: list[Picture]) -> Figures:
    """(SSIM, content loss, style loss) of each method at each strength, means over all pairs."""
    models = options.more.data / "style_models"
    judge = Judge(read_vgg(models / "vgg19_wct" / "vgg_normalised_conv3_1.pth"))
    found: Figures = {}
    for name, method in methods(models).items():
        found[name] = {share: _means(judge, method, contents, styles, share) for share in _strengths(options)}
    return found


def _strengths(options: Options) -> list[float]:
    count = 2 if options.quick else options.more.strengths
    return [(place + 1) / count for place in range(count)]


def _means(
    judge: Judge, method: Method, contents: list[Picture], styles: list[Picture], strength: float
) -> tuple[float, float, float]:
    measured = []
    looks = [judge.look(style) for style in styles]
    for content in contents:
        for style, look in zip(styles, looks, strict=True):
            got = method(content, style, strength)
            similarity = structural_similarity(got, content)
            measured.append((similarity, judge.content(got, content), judge.style(got, look)))
    similarity, content_loss, style_loss = np.mean(measured, 0)
    return float(similarity), float(content_loss), float(style_loss)


def quality_rows(figures: Figures) -> list[Row]:
    """Every method's figures at full strength, MicroAST as the peer; and ours at all strengths."""
    peer = figures["MicroAST"][1.0]
    rows = []
    for name, by_strength in figures.items():
        for strength, figure in by_strength.items():
            if strength < 1 and name not in OURS:
                continue
            case = f"{name}, strength {strength:g}, {SIDE} px"
            better = (("SSIM", "more"), ("content loss", "less"), ("style loss", "less"))
            for (metric, which), mine, theirs in zip(better, figure, peer, strict=True):
                rows.append(row(case, metric, "", [mine], [theirs], better=which))
    return rows


def speed(options: Options, content: Picture, style: Picture) -> list[Row]:
    """Milliseconds for a picture of 512 pixels, in turn with MicroAST; the style's code is made anew each time."""
    large, look = (
        np.ascontiguousarray(np.kron(picture, np.ones((2, 2, 1), np.float32))) for picture in (content, style)
    )
    models = options.more.data / "style_models"
    peers: dict[str, Callable[[Picture, Picture], object]] = {"MicroAST": microast_in_onnx(models, LARGE)}
    rows = []
    if is_here(models / "magenta_tflite"):
        peers["Magenta int8 (it draws 384 px)"] = Magenta(models / "magenta_tflite", THREADS)
    else:
        rows.append(not_measured("edge, against Magenta", "time", "ms", "beside Magenta", MISSING))
    for name in shipped():
        for peer, run in peers.items():
            ours, theirs = _in_turn(shipped_stylizer(name, THREADS), run, large, look, options.repeats)
            promised = name == "edge" and peer == "MicroAST"
            promise = {"limit": 60.0, "target": 3.0} if promised else {}
            rows.append(row(f"{name}, {LARGE} px, end to end, {peer}", "time", "ms", ours, theirs, **promise))
    return rows


def costs(options: Options) -> list[Row]:
    """The local stage's share, and the memory of a large picture."""
    content, style = pictures(options, "content", LARGE)[0], pictures(options, "style")[0]
    paths = [split_pictures(options.more.data / "images" / kind)[0][0] for kind in ("content", "style")]
    rows = []
    for name in shipped():
        shares = local_share(name, content, style, options.repeats)
        rows.append(row(f"{name}, {LARGE} px", "local stage", "%", shares, limit=25.0, promise=SHARE))
        memory, spent = large_picture(name, *paths)
        note = f"JPEG in, PNG out, {spent:.1f} s"
        case = f"{name}, 3840x2160, a process"
        rows.append(row(case, "resident memory", "MiB", [memory], limit=1024.0, promise=MEMORY, note=note))
    return rows


def _in_turn(
    stylizer: NetworkStylizer,
    peer: Callable[[Picture, Picture], object],
    content: Picture,
    style: Picture,
    repeats: int,
) -> tuple[list[float], list[float]]:
    """Milliseconds of ours and of the peer, alternately; two of each first, that do not count."""
    ours, theirs = [], []
    for _ in range(repeats + 2):
        ours.append(_milliseconds(lambda: stylizer.stylize(content, [Style(style)])))
        theirs.append(_milliseconds(lambda: peer(content, style)))
    return ours[2:], theirs[2:]


def _milliseconds(call: Callable[[], object]) -> float:
    # Threads of other runtimes spin for a while after their work: each call begins when they rest.
    time.sleep(PAUSE_S)
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def plot(figures: Figures, file: Path) -> None:
    """Style loss against content loss, a line a method over the strengths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5))
    for name, by_strength in figures.items():
        points = [(content, style) for _, content, style in by_strength.values() if style < 10]
        axes.plot(*zip(*points, strict=True), marker="o", label=name, linewidth=2 if name in OURS else 1)
    axes.set(xlabel="content loss (relu3_1)", ylabel="style loss (relu1_1 to relu3_1)")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    raise SystemExit(main())
