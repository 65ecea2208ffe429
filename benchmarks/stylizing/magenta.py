"""Magenta's arbitrary stylization (Ghiasi et al., BMVC 2017), its int8 files in TensorFlow Lite, as a peer."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.float32]

STYLE_SIDE, SIDE = 256, 384
MISSING = "ai-edge-litert or its files are not here: pip install ai-edge-litert"


class Magenta:
    """Both networks; pictures of other sizes are resized to the one that they take, and results back.

    Args:
        folder: with both files.
        threads: of the interpreters.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._predict = _interpreter(folder / "style_predict_int8_256.tflite", threads)
        self._transfer = _interpreter(folder / "style_transfer_int8_384.tflite", threads)

    def __call__(self, content: Picture, style: Picture, strength: float = 1.0) -> Picture:
        """Stylize; less than full strength mixes in the content's own code, as its authors do."""
        code = self._code(style)
        if strength < 1:
            code = strength * code + (1 - strength) * self._code(content)
        got = _run(self._transfer, {"content_image": _sized(content, SIDE), "mobilenet_conv/Conv/BiasAdd": code})
        return _sized(got, content.shape[0])[0]

    def _code(self, picture: Picture) -> Picture:
        return _run(self._predict, {"style_image": _sized(picture, STYLE_SIDE)}, whole=True)


def is_here(folder: Path) -> bool:
    """Whether it can be measured."""
    return find_spec("ai_edge_litert") is not None and folder.is_dir()


def _interpreter(file: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(str(file), num_threads=threads)
    made.allocate_tensors()
    return made


def _run(interpreter: Any, fed: dict[str, Picture], whole: bool = False) -> Picture:
    for told in interpreter.get_input_details():
        interpreter.set_tensor(told["index"], fed[told["name"]])
    interpreter.invoke()
    found = np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return found if whole else found[0]


def _sized(picture: Picture, side: int) -> Picture:
    """[1, side, side, 3]."""
    if picture.shape[0] == side:
        return np.ascontiguousarray(picture[None], np.float32)
    image = Image.fromarray((picture.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS), np.float32)[None] / 255
