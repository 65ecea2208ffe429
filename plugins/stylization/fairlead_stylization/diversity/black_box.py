"""The search without gradients: any ONNX file, and anything else that makes pictures of pictures.

Natural evolution strategies on the lattice's values (Ilyas et al., ICML 2018): pairs of mirrored random directions are
tried, and what they gained says where to go. A coarse lattice has few values, which is what makes this quick enough.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadCheckpoint, BadPicture, BadSetting, MissingExtra
from .request import Search
from .smooth import bent, lattice_shape, spread

F32 = NDArray[np.float32]
#: Pairs of directions that are tried for a step.
PAIRS = 4
#: How far they go, of the lattice's reach.
_TRIED = 0.3


def search_black_box(
    generate: Callable[[F32], F32],
    picture: F32,
    objective: Callable[[F32], float],
    wanted: Search,
    *,
    pairs: int = PAIRS,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[F32, F32]:
    """Look for inputs near a picture whose results are what the objective wants.

    Args:
        generate: pictures float32 [n, 3, height, width] in [0, 1] to results, deterministic.
        picture: [3, height, width] in [0, 1].
        objective: of all results [count, 3, any, any] together; more is better.
        wanted: how many, how far, how long.
        pairs: directions and their opposites tried in each step; each costs two runs of ``count`` pictures.
        stopped: asked before each step.

    Returns:
        results [count, ...] and the inputs that they were made of; what was best is kept.

    Raises:
        BadPicture: the picture is not finite, or of another shape.
        BadSetting: the objective is not finite.
    """
    if picture.ndim != 3 or picture.shape[0] != 3 or not np.isfinite(picture).all():
        raise BadPicture(f"picture {picture.shape}; accepted: finite values [3, height, width]")
    height, width = picture.shape[1:]
    rng = np.random.default_rng(wanted.seed)
    shape = (wanted.count, 3, *lattice_shape(height, width, wanted.cell))

    def made(lattice: F32) -> tuple[F32, F32]:
        change = bent(spread(lattice, height, width, wanted.cell), wanted.bound)
        inputs = np.clip(picture + change, 0, 1).astype(np.float32)
        return generate(inputs), inputs

    def score(lattice: F32) -> float:
        value = float(objective(made(lattice)[0]))
        if not np.isfinite(value):
            raise BadSetting(f"the objective is {value}; accepted: a generator with finite results")
        return value

    lattice = (np.sign(rng.standard_normal(shape)) * wanted.reach * 0.5).astype(np.float32)
    best, best_value = lattice, score(lattice)
    for step in range(wanted.steps):
        if stopped():
            break
        slope = np.zeros(shape, np.float32)
        for _ in range(pairs):
            direction = rng.standard_normal(shape).astype(np.float32)
            reach = _TRIED * wanted.reach * direction
            slope += (score(_bounded(lattice + reach, wanted)) - score(_bounded(lattice - reach, wanted))) * direction
        lattice = _bounded(lattice + wanted.step_size(step) * np.sign(slope), wanted)
        value = score(lattice)
        if value > best_value:
            best, best_value = lattice, value
        else:
            lattice = best
    return made(best)


class OnnxGenerator:
    """An ONNX file with one picture in and one out, [n, 3, height, width] in [0, 1]; [n, 1, ...] gets luminance.

    Raises:
        BadCheckpoint: the file is none, or takes or gives something else.
        MissingExtra: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, *, threads: int = 2) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("ONNX generators", "onnx") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise BadCheckpoint(path, f"cannot be opened ({error}); accepted: an ONNX model") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        good = (
            len(inputs) == 1 and len(outputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].type == "tensor(float)"
        )
        if not good or inputs[0].shape[1] not in (1, 3):
            told = ", ".join(f"{item.name} {item.type} {item.shape}" for item in [*inputs, *outputs])
            raise BadCheckpoint(path, f"{told}; accepted: one float picture [n, 3 or 1, height, width] in, one out")
        self._path, self._name, self._channels = path, inputs[0].name, inputs[0].shape[1]
        self._one_by_one = isinstance(inputs[0].shape[0], int)

    def __call__(self, pictures: F32) -> F32:
        """Return results float32 [n, 3, any, any]."""
        taken = pictures if self._channels == 3 else _luminance(pictures)
        parts = [taken[index : index + 1] for index in range(len(taken))] if self._one_by_one else [taken]
        try:
            made = np.concatenate([self._session.run(None, {self._name: part})[0] for part in parts])
        except Exception as error:
            raise BadSetting(f"{self._path}: pictures {taken.shape} are refused ({error})") from error
        return made if made.shape[1] == 3 else np.repeat(made, 3, axis=1)


def _bounded(lattice: F32, wanted: Search) -> F32:
    return np.clip(lattice, -wanted.reach, wanted.reach).astype(np.float32)


def _luminance(pictures: F32) -> F32:
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.einsum("nchw,c->nhw", pictures, weights)[:, None].astype(np.float32)
