"""Tracebacks that begin where the plugin's own code begins: the last lines of a log become the reason of a report."""

from __future__ import annotations

import asyncio
import importlib
import traceback
from pathlib import Path
from types import TracebackType

_FRAMES_BEFORE = (
    str(Path(__file__).parent),
    str(Path(asyncio.__file__).parent),
    importlib.__file__,
    "<frozen importlib",
)


def print_plugin_traceback(error: BaseException) -> None:
    """Print an error and its cause to stderr, without the frames of host, asyncio and importlib above the plugin's."""
    for each in (error.__cause__, error):
        if each is not None:
            each.__traceback__ = _from_plugin(each.__traceback__)
    traceback.print_exception(error)


def _from_plugin(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_FRAMES_BEFORE):
        frames = frames.tb_next
    return frames
