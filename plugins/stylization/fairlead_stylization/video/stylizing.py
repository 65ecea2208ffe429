"""A whole video through a stylizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPicture
from ..pictures import Limits
from .consistency import Steadiness, SteadyFrames
from .frames import open_frames, open_sink

F32 = NDArray[np.float32]


def stylize_video(
    source: Path,
    out: Path,
    stylize: Callable[[F32], F32],
    *,
    steadiness: Steadiness | None = None,
    limits: Limits | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> int:
    """Stylize a video file or a folder of pictures; return the number of frames. A file's sound is kept.

    Args:
        source: video file, or folder.
        out: where the frames go: a video file by its ending, else a folder.
        stylize: makes of a frame float32 [height, width, 3] another of that size.
        steadiness: of the frames among each other.
        limits: of a frame's size.
        progress: is told the frames done and, where it is known, how many there are.

    Raises:
        BadPicture: a frame cannot be read or written. No part of a video file is left, pictures in a folder stay.
    """
    if out.resolve() == source.resolve():
        raise BadPicture(f"{out}: is what is read; accepted: another path")
    frames = open_frames(source, limits=limits)
    steady = SteadyFrames(steadiness)
    done = 0
    with open_sink(out, frames.rate, sound=source, folder=source.is_dir()) as sink:
        for name, frame in frames:
            sink.add(name, steady.step(frame, stylize(frame)))
            done += 1
            progress(done, frames.count)
    return done
