"""Videos in a style, steady and with their strokes: ``python -m benchmarks.stylization_video --vgg PATH``.

Photographs of a split that move by known ways (by parts of a pixel), views along a way through the posed RGB-D office,
and a stereo pair as two frames. For each: the fine detail of frames 1, 8 and 30 beside that of stylization frame by
frame, how far frames disagree about what they both show (warped RMSE by the true flow, adjacent and seven apart), style
loss by VGG-19, and the time of a frame. Peers: each frame by itself, and plain blending of the last output moved along.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.stylizing.chosen import add_choice, chosen, described
from benchmarks.stylizing.moving import MOTIONS, Motion, PlainBlend, frames
from fairlead_stylization.networks.running import shipped_stylizer, student_file
from fairlead_stylization.pictures import Picture, read_picture, write_picture
from fairlead_stylization.quality.similarity import high_frequency_energy
from fairlead_stylization.scenes.consistency import consistency
from fairlead_stylization.scenes.reading import read_scene
from fairlead_stylization.scenes.reading.depth_frames import Intrinsics
from fairlead_stylization.scenes.splatting import splat
from fairlead_stylization.stylizer import NetworkStylizer, Style
from fairlead_stylization.video.consistency import Steadiness, SteadyFrames, warped_rmse
from fairlead_stylization.video.flow import inside

F32 = NDArray[np.float32]
SIDE, COUNT, STEADY = 256, 31, 0.75
#: Frames whose detail and style are told. Pixels at the border, which no flow tells, do not count.
SHOWN, BORDER = (1, 8, 30), 8
DETAIL = "high-frequency energy of frame 30 >= 0.95 of that of each frame by itself"
STYLE = "style loss <= 1.05x that of each frame by itself"
AGREE = "warped RMSE no more than plain blending's"
OFFICE = Intrinsics((518, 519), (325.5, 253.5))


class Steady(Protocol):
    """What makes frames steady."""

    def step(self, frame: F32, stylized: F32) -> F32:
        """The frame's output."""
        ...


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames, and how far outputs that lie so many frames apart disagree."""

    frames: list[F32]
    apart: Callable[[list[F32], int], float]


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a clip's outputs: by `SHOWN`, detail and style loss, and the disagreement of adjacent frames and 7 apart."""

    detail: list[float]
    style: float
    apart: list[float]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--vgg", type=Path, help="VGG-19 (vgg_normalised) to relu3_1, which judges.")
    more.add_argument("--variant", default="edge", choices=["edge", "quality"])
    add_choice(more)
    more.add_argument("--picture", type=Path, help="Where to draw frames: plain, by itself, plain blending, ours.")
    options = parse("stylization_video", __doc__, repeats=5, quick=1, arguments=arguments, more=more)
    data = os.environ.get("FAIRLEAD_DATA")
    if data is None or options.more.vgg is None or not student_file(options.more.variant).is_file():
        why = "FAIRLEAD_DATA, --vgg or the shipped weights are missing"
        missing = (("fine detail", DETAIL), ("style loss", STYLE), ("warped RMSE", AGREE))
        options.finish({}, [not_measured("videos", metric, "x", promise, why) for metric, promise in missing])
        return
    cv2.setNumThreads(2)
    stylizer = shipped_stylizer(options.more.variant, 2)
    contents, styles = (chosen(options.more, Path(data) / "images", kind) for kind in ("content", "style"))
    drawn: list[F32] = []
    rows = [
        *_photographs(options, stylizer, contents, styles, drawn),
        *_measured(options, stylizer, "office views (posed RGB-D)", [_office(Path(data))], styles[:2], drawn),
        *_measured(options, stylizer, "stereo pair as two frames", [_stereo(Path(data))], styles[:2], []),
        *_speed(options, stylizer, contents[0], styles[0]),
    ]
    if options.more.picture is not None:
        write_picture(Picture(np.concatenate(drawn)), options.more.picture)
    conditions = {"side": SIDE, "frames": COUNT, "steady": STEADY, "variant": options.more.variant, "threads": 2}
    options.finish({**conditions, **described(options.more, [*contents, *styles])}, rows)


def _photographs(
    options: Options, stylizer: NetworkStylizer, contents: list[Path], styles: list[Path], drawn: list[F32]
) -> list[Row]:
    """Each content in each motion once, styles in turn: one value a sequence."""
    found: list[dict[str, Figures]] = []
    every = [(content, motion) for motion in MOTIONS.values() for content in contents]
    for number, (content, motion) in enumerate(every[:1] if options.quick else every):
        clip = _clip(read_picture(content).pixels, motion)
        found.append(_figures(options, stylizer, clip, styles[number % len(styles)], drawn if number < 4 else []))
    return _rows("photographs moved by known ways", found)


def _measured(
    options: Options, stylizer: NetworkStylizer, case: str, clips: list[Clip], styles: list[Path], drawn: list[F32]
) -> list[Row]:
    some = styles[:1] if options.quick else styles
    return _rows(case, [_figures(options, stylizer, clip, style, drawn) for clip in clips for style in some])


def _clip(photograph: F32, motion: Motion) -> Clip:
    def apart(outputs: list[F32], reach: int) -> float:
        """Of frames from 8 on: the blended ones have settled by then."""
        pairs = [(number - reach, number) for number in range(8, COUNT)]
        return _mean(_differs(outputs[one], outputs[two], motion.flow(two, one, SIDE)) for one, two in pairs)

    return Clip(frames(photograph, motion, COUNT, SIDE), apart)


def _differs(before: F32, after: F32, flow: F32, known: NDArray[np.bool_] | None = None) -> float:
    visible = inside(flow) if known is None else inside(flow) & known
    visible[:BORDER] = visible[-BORDER:] = False
    visible[:, :BORDER] = visible[:, -BORDER:] = False
    return warped_rmse(before, after, flow, visible)


def _office(data: Path) -> Clip:
    scene = read_scene(data / "scenes" / "rgbd_office", intrinsics=OFFICE)
    cameras = scene.views(COUNT, (SIDE, SIDE))
    seen = [splat(scene, camera) for camera in cameras]
    depths = [view.depth for view in seen]
    views = [view.render(scene.colours, scene.background) for view in seen]
    return Clip(views, lambda outputs, reach: consistency(outputs, cameras, depths, reach))


def _stereo(data: Path) -> Clip:
    """The right picture, then the left one, at half the size; where the disparity is not known nothing is compared."""
    folder = data / "scenes" / "stereo_motorcycle"
    left, right = (read_picture(folder / f"motorcycle_{side}.png").pixels for side in ("left", "right"))
    disparity = next(iter(np.load(folder / "motorcycle_disp.npz").values())).astype(np.float32)[::2, ::2] / 2
    size = disparity.shape[::-1]
    small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in (right, left)]
    half = [np.asarray(picture, np.float32) for picture in small]
    known = np.isfinite(disparity) & (disparity > 0)
    flow = np.stack([-np.where(known, disparity, 0), np.zeros_like(disparity)], axis=2).astype(np.float32)
    return Clip(half, lambda outputs, reach: _differs(outputs[0], outputs[1], flow, known))


def _figures(
    options: Options, stylizer: NetworkStylizer, clip: Clip, style: Path, drawn: list[F32]
) -> dict[str, Figures]:
    from fairlead_stylization.checkpoints.vgg import read_vgg
    from fairlead_stylization.quality.perceptual import Judge

    judge = Judge(read_vgg(options.more.vgg))
    picture = read_picture(style).pixels
    code, look = Style(stylizer.encode_style(picture)), judge.look(picture)
    alone = [stylizer.stylize(frame, [code]) for frame in clip.frames]
    outputs = {"each by itself": alone}
    makers: dict[str, Steady] = {"plain": PlainBlend(STEADY), "ours": SteadyFrames(Steadiness(STEADY))}
    for name, steady in makers.items():
        outputs[name] = [steady.step(*pair) for pair in zip(clip.frames, alone, strict=True)]
    shown = [number for number in SHOWN if number < len(clip.frames)]
    drawn += [np.concatenate([each[at] for each in (clip.frames, *outputs.values())], axis=1) for at in shown]
    return {
        name: Figures(
            [high_frequency_energy(made[at]) for at in shown],
            _mean(judge.style(made[at], look) for at in shown),
            [clip.apart(made, reach) for reach in (1, 7) if reach < len(made)],
        )
        for name, made in outputs.items()
    }


def _rows(case: str, found: list[dict[str, Figures]]) -> list[Row]:
    """A value a sequence; ratios are to each frame by itself."""

    def against(name: str, value: Callable[[Figures], float]) -> list[float]:
        return [value(each[name]) / value(each["each by itself"]) for each in found]

    told = [number for number, _ in zip(SHOWN, found[0]["ours"].detail, strict=False)]
    rows = []
    for place, number in enumerate(told):
        detail = [against(name, lambda one, place=place: one.detail[place]) for name in ("ours", "plain")]
        promised = number == SHOWN[-1]
        rows.append(row(case, f"fine detail of frame {number}, of each frame by itself", "x", *detail, better="more",
                        limit=0.95 if promised else None, promise=DETAIL if promised else None,
                        note=f"mean {np.mean(detail[0]):.3f}, plain blending {np.mean(detail[1]):.3f}"))  # fmt: skip
    loss = [against(name, lambda one: one.style) for name in ("ours", "plain")]
    rows.append(row(case, "style loss, of each frame by itself", "x", *loss, limit=1.05, promise=STYLE,
                    note=f"mean {np.mean(loss[0]):.3f}, plain blending {np.mean(loss[1]):.3f}"))  # fmt: skip
    for place, reach in enumerate(("adjacent frames", "7 frames apart")[: len(found[0]["ours"].apart)]):
        apart = {name: [each[name].apart[place] for each in found] for name in found[0]}
        note = (
            f"means {_mean(apart['ours']):.4f}, {_mean(apart['plain']):.4f}, each {_mean(apart['each by itself']):.4f}"
        )
        rows.append(row(case, f"warped RMSE, {reach}", "of 1", apart["ours"], apart["plain"], target=1.0,
                        promise=AGREE, note=note))  # fmt: skip
        rows.append(row(case, f"warped RMSE, {reach}, beside each frame by itself", "of 1", apart["ours"],
                        apart["each by itself"]))  # fmt: skip
    return rows


def _speed(options: Options, stylizer: NetworkStylizer, content: Path, style: Path) -> list[Row]:
    """What steadiness adds to a frame of 512 px, in turn with plain blending."""
    clip = frames(read_picture(content).pixels, MOTIONS["pan"], options.repeats + 3, 512)
    code = Style(stylizer.encode_style(read_picture(style).pixels))
    made = [stylizer.stylize(frame, [code]) for frame in clip]
    spent: dict[str, list[float]] = {}
    makers: dict[str, Steady] = {"ours": SteadyFrames(Steadiness(STEADY)), "plain": PlainBlend(STEADY)}
    for pair in zip(clip, made, strict=True):
        for name, steady in makers.items():
            began = time.perf_counter()
            steady.step(*pair)
            spent.setdefault(name, []).append(1000 * (time.perf_counter() - began))
    return [row("steadiness at 512 px", "a frame, beside its stylization", "ms", spent["ours"][3:], spent["plain"][3:])]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


if __name__ == "__main__":
    main()
