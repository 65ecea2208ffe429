"""Networks behind the stylizer: a student by native kernels or in torch, or its exported graphs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import set_threads
from fairlead_kernels.feature_maps import halves_by

from ..errors import BadCheckpoint, BadSetting
from ..stylizer import Look, Network, NetworkStylizer, style_pixels
from ..transform.tiles import length
from .kept import keep_freed_memory
from .native import NativeNetwork
from .refining import NativeRefiner, RefinedNetwork, StyleSlope
from .sessions import Graph
from .shape import REFINERS, SHAPES, shape_told

if TYPE_CHECKING:
    from .refiner import Refiner
    from .student import Student

Array = NDArray[np.float32]

WEIGHTS = Path(__file__).parents[1] / "weights"
VARIANTS = ("edge", "quality")
RUNTIMES = ("auto", "native", "onnx")
LOOK = ("colours", "statistics", "filters", "means", "deviations", "weights")


class OnnxNetwork:
    """Exported graphs.

    Args:
        style, picture: files of the two graphs.
        threads: as many as there are processors where 0.

    Raises:
        BadCheckpoint: files that are not there or not such graphs.
        MissingExtra: ONNX Runtime is not installed.
    """

    def __init__(self, style: Path, picture: Path, threads: int = 0) -> None:
        self._style, self._picture = (Graph(path, threads) for path in (style, picture))
        told = self._picture.told
        self.segments = shape_told(told, picture).segments
        self.variant = told.get("variant", "edge")
        self.weights_digest = _digest(style, picture)

    def encode(self, style: Array, details: Array) -> tuple[Array, Array, Array, Array]:
        """See `stylizer.Network`."""
        fed = {"style": style, "details": details}
        return tuple(self._style.run({name: np.ascontiguousarray(part) for name, part in fed.items()}))

    def decode(self, content: Array, details: Array, look: Look, given: Array | None) -> tuple[Array, Array]:
        """See `stylizer.Network`."""
        total = sum(map(length, self.segments))
        planes = {"content": np.ascontiguousarray(content), "details": np.ascontiguousarray(details)}
        fed = {**planes, **{name: getattr(look, name) for name in LOOK}}
        fed["strength"] = np.array([look.strength], np.float32)
        fed["given"] = np.zeros((1, total), np.float32) if given is None else given
        fed["share"] = np.array([0 if given is None else 1], np.float32)
        picture, used = self._picture.run(fed)
        return picture, used


class TorchNetwork:
    """A student in torch.

    Args:
        student: the network.
        variant: its name.
        device: of torch.
    """

    def __init__(self, student: Student, variant: str, device: str = "cpu") -> None:
        self._student, self.variant, self._device = student.eval().to(device), variant, device
        self.segments = student.shape.segments
        values = [value.detach().cpu().contiguous().numpy().tobytes() for value in student.state_dict().values()]
        self.weights_digest = hashlib.sha256(b"".join(values)).hexdigest()

    def encode(self, style: Array, details: Array) -> tuple[Array, Array, Array, Array]:
        """See `stylizer.Network`."""
        import torch

        from .export import StyleGraph

        planes = (torch.from_numpy(np.ascontiguousarray(part)) for part in (style, details))
        with torch.inference_mode():
            found = StyleGraph(self._student)(*(part.to(self._device) for part in planes))
        return tuple(array.cpu().numpy() for array in found)

    def decode(self, content: Array, details: Array, look: Look, given: Array | None) -> tuple[Array, Array]:
        """See `stylizer.Network`."""
        import torch

        from .export import PictureGraph

        planes = (np.ascontiguousarray(part) for part in (content, details))
        arrays = [*planes, *(getattr(look, name) for name in LOOK)]
        arrays.append(np.array([look.strength], np.float32))
        arrays.append(np.zeros((1, sum(map(length, self.segments))), np.float32) if given is None else given)
        arrays.append(np.array([0 if given is None else 1], np.float32))
        with torch.inference_mode():
            picture, used = PictureGraph(self._student)(*(torch.from_numpy(array).to(self._device) for array in arrays))
        return picture.cpu().numpy(), used.cpu().numpy()


def shipped_stylizer(
    variant: str = "edge", threads: int = 0, folder: Path = WEIGHTS, *, runtime: str = "auto"
) -> NetworkStylizer:
    """The stylizer that ships.

    Args:
        variant: which size.
        threads: as many as there are processors where 0; of all native kernels of this process.
        folder: holds `VARIANT.safetensors` for native kernels, `VARIANT-style.onnx` and `VARIANT-picture.onnx` (edge's
            where a variant has only a refiner), and `VARIANT-refiner.safetensors` (nothing is refined without).
        runtime: "native", "onnx" (ONNX Runtime) or "auto": native where that is faster, which it is on processors that
            multiply bfloat16 by themselves, or where ONNX Runtime is not installed; by a graph where there are no
            weights that native kernels take.

    Raises:
        BadSetting: no such variant or runtime.
        BadCheckpoint: files that are not there or hold no such network.
        MissingExtra: ONNX Runtime is asked for and not installed.
    """
    for name, value, accepted in (("variant", variant, VARIANTS), ("runtime", runtime, RUNTIMES)):
        if value not in accepted:
            raise BadSetting(f"{name}: {value!r}; accepted: {', '.join(accepted)}")
    network = _drawing(drawn_by(variant, folder), threads, folder, runtime)
    refiner = folder / f"{variant}-refiner.safetensors"
    if not refiner.is_file():
        return NetworkStylizer(network)
    digest = hashlib.sha256(network.weights_digest.encode() + refiner.read_bytes()).hexdigest()
    return NetworkStylizer(RefinedNetwork(network, NativeRefiner(refiner, variant), variant, digest))


def shipped_slope(
    styles: Sequence[tuple[Array, float]], strength: float = 1.0, folder: Path = WEIGHTS
) -> StyleSlope | None:
    """Which way pictures come nearer to a mixture of styles, by the network that ships; None where there is none.

    Args:
        styles: pictures [h, w, 3] in [0, 1], with their weights.
        strength: from 0 to 1.
        folder: holds `scene-refiner.safetensors`, which sees more of what VGG-19 sees than what refines pictures: a
            scene's views go down its slope for long.

    Raises:
        BadCheckpoint: a file that is no refiner.
    """
    file = folder / "scene-refiner.safetensors"
    if not file.is_file():
        return None
    looks = [(style_pixels(picture), weight) for picture, weight in styles]
    return StyleSlope(NativeRefiner(file, "scene"), looks, strength)


def drawing_stylizer(
    variant: str, threads: int = 0, folder: Path = WEIGHTS, *, runtime: str = "auto"
) -> NetworkStylizer:
    """As `shipped_stylizer`, without refinement: what a refiner is trained on."""
    own = folder / f"{variant}.safetensors"
    return NetworkStylizer(_drawing(variant if own.is_file() else "edge", threads, folder, runtime))


def drawn_by(variant: str, folder: Path = WEIGHTS) -> str:
    """Which variant's network draws what a variant refines: its own, or edge's where only its refiner is there."""
    own = any((folder / f"{variant}{ending}").is_file() for ending in ("-picture.onnx", ".safetensors"))
    return variant if own or not (folder / f"{variant}-refiner.safetensors").is_file() else "edge"


def _drawing(variant: str, threads: int, folder: Path, runtime: str) -> Network:
    if runtime == "native" or (runtime == "auto" and _native_is_faster()):
        try:
            return _native(variant, threads, folder)
        except BadCheckpoint:
            if runtime == "native":
                raise
    return OnnxNetwork(*_graphs(variant, folder), threads)


def _native_is_faster() -> bool:
    return halves_by() in ("amx", "avx512bf16") or find_spec("onnxruntime") is None


def _native(variant: str, threads: int, folder: Path) -> NativeNetwork:
    graphs = _graphs(variant, folder)
    # The same weights are known by one name, whatever runs them.
    digest = _digest(*graphs) if all(graph.is_file() for graph in graphs) else None
    network = NativeNetwork(folder / f"{variant}.safetensors", variant, digest=digest)
    set_threads(min(256, threads or os.cpu_count() or 1))
    keep_freed_memory()
    return network


def _graphs(variant: str, folder: Path) -> tuple[Path, Path]:
    return folder / f"{variant}-style.onnx", folder / f"{variant}-picture.onnx"


def _digest(style: Path, picture: Path) -> str:
    return hashlib.sha256(style.read_bytes() + picture.read_bytes()).hexdigest()


def student_file(variant: str, folder: Path = WEIGHTS) -> Path:
    """The weights of what draws a variant's pictures, as `read_student` takes them."""
    return folder / f"{drawn_by(variant, folder)}.safetensors"


def read_student(weights: Path, variant: str | None = None) -> Student:
    """A student with a training run's weights.

    Args:
        weights: a safetensors file.
        variant: its shape; None: as the file is called.

    Raises:
        BadCheckpoint: not a student of that variant.
        BadSetting: no such variant.
    """
    from ..checkpoints.files import fill, read_tensors
    from .student import Student

    variant = weights.stem if variant is None else variant
    if variant not in SHAPES:
        raise BadSetting(f"variant: {variant!r}; accepted: {', '.join(SHAPES)}")
    student = Student(SHAPES[variant])
    fill(student, read_tensors(weights), {name: name for name in student.state_dict()}, weights)
    return student.eval()


def read_refiner(weights: Path, variant: str) -> Refiner:
    """A refiner in torch, with a training run's weights.

    Args:
        weights: a safetensors file.
        variant: its shape.

    Raises:
        BadCheckpoint: not a refiner of that variant.
    """
    from ..checkpoints.files import fill, read_tensors
    from .refiner import Refiner

    refiner = Refiner(REFINERS[variant])
    fill(refiner, read_tensors(weights), {name: name for name in refiner.state_dict()}, weights)
    return refiner.eval()


def torch_stylizer(weights: Path, variant: str = "edge", device: str = "cpu") -> NetworkStylizer:
    """A stylizer from a training run's weights, in torch; raises as `read_student` does."""
    return NetworkStylizer(TorchNetwork(read_student(weights, variant), variant, device))
