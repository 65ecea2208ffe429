"""A directory in Hugging Face's layout: config.json with one safetensors file, or several and an index."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import GROUP, Q8Matrix

from .checkpoint import TRANSPOSED, Checkpoint
from .errors import CheckpointError, shown
from .hf_config import read_hf_config, read_json_object
from .hf_names import uniform_parts
from .safetensors_file import SafetensorsFile
from .tensor_part import TensorPart, by_name

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
QUANTS, SCALE = ".q8", ".scale"


class HfCheckpoint(Checkpoint):
    """Safetensors in Hugging Face's layout.

    A matrix NAME may be stored in Q8 groups as a pair: `NAME.q8`, int8 [rows, columns], and `NAME.scale`,
    float16 [rows, columns / 32]; value = q8 * scale of its group. The pair may also hold the transpose, as `NAME_t.q8`
    and `NAME_t.scale`: NAME is then read as its transpose, in float32.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = read_hf_config(path / "config.json")
        self._files = _open_files(path)
        self._pairs = {name.removesuffix(QUANTS) for name in self._files if name.endswith(QUANTS)}
        parts = {f"{name}{suffix}" for name in self._pairs for suffix in (QUANTS, SCALE)}
        alone = self._files.keys() - parts
        shapes = {name: self._files[name].entries[name].shape for name in alone}
        self._parts = by_name(path, (part for name, shape in shapes.items() for part in uniform_parts(name, shape)))
        names = self._parts.keys() | self._pairs
        turned = {name for name in self._pairs if name.endswith(".weight" + TRANSPOSED)}
        self._turned = {name.removesuffix(TRANSPOSED) for name in turned} - names
        self._names = (names - turned) | self._turned

    def names(self) -> Collection[str]:
        """Return the tensors' names; a Q8 pair counts as one tensor."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        if name in self._turned:
            return self._stored_shape(name + TRANSPOSED + QUANTS)[::-1]
        return self._stored_shape(name + QUANTS) if name in self._pairs else self._parts[name].shape

    def transposed(self, name: str, shape: tuple[int, int]) -> Q8Matrix | None:
        """Return the transpose [columns, rows] of a matrix in Q8 groups, where the file holds it so; else None."""
        if name not in self._turned:
            return None
        self._require(name, shape[::-1])
        return self._q8(name + TRANSPOSED)

    def _float32(self, name: str) -> NDArray[np.float32]:
        if name in self._turned:
            pair = self._q8(name + TRANSPOSED)
            assert pair is not None
            return np.ascontiguousarray(pair.dequantize().T)
        pair = self._q8(name)
        return self._plain(self._parts[name]) if pair is None else pair.dequantize()

    def _plain(self, part: TensorPart) -> NDArray[np.float32]:
        file = self._files[part.stored]
        if file.entries[part.stored].shape == part.shape:
            return file.float32(part.stored)
        return file.float32(part.stored, part.stored_rows)

    def _q8(self, name: str) -> Q8Matrix | None:
        if name not in self._pairs:
            return None
        quants = self._part(name + QUANTS, "I8")
        if quants.ndim != 2 or quants.shape[1] % GROUP:
            raise self._error(f"shape {quants.shape}; accepted: [rows, a multiple of {GROUP}]", name + QUANTS)
        scale = self._part(name + SCALE, "F16")
        expected = (quants.shape[0], quants.shape[1] // GROUP)
        if scale.shape != expected:
            raise self._error(f"shape {scale.shape}; its quants ask for {expected}", name + SCALE)
        return Q8Matrix(quants, np.require(scale, requirements=["C", "A"]))

    def _stored_shape(self, name: str) -> tuple[int, ...]:
        return self._files[name].entries[name].shape

    def _part(self, name: str, dtype: str) -> NDArray[Any]:
        if name not in self._files:
            raise self._error("is missing", name)
        file = self._files[name]
        if file.entries[name].dtype != dtype:
            raise CheckpointError(file.path, f"is {file.entries[name].dtype}; accepted: {dtype}", name)
        return file.raw(name)

    def _error(self, reason: str, tensor: str) -> CheckpointError:
        return CheckpointError(self.path, reason, tensor)


def _open_files(directory: Path) -> Mapping[str, SafetensorsFile]:
    """Return the file that holds each tensor."""
    if (directory / SINGLE).exists():
        single = SafetensorsFile(directory / SINGLE)
        return dict.fromkeys(single.entries, single)
    if not (directory / INDEX).exists():
        raise CheckpointError(directory, f"holds neither {SINGLE} nor {INDEX}")
    placement = _read_index(directory / INDEX)
    shards = {name: SafetensorsFile(directory / name) for name in sorted(set(placement.values()))}
    for tensor, shard in placement.items():
        if tensor not in shards[shard].entries:
            raise CheckpointError(directory / shard, f"is missing, though {INDEX} places it there", tensor)
    return {tensor: shards[shard] for tensor, shard in placement.items()}


def _read_index(path: Path) -> dict[str, str]:
    placement = read_json_object(path).get("weight_map")
    if not isinstance(placement, dict):
        raise CheckpointError(path, f"weight_map = {shown(placement)}; accepted: an object of tensor to file name")
    for tensor, shard in cast("dict[str, Any]", placement).items():
        # A shard lies beside its index; anything else would let a model's files read outside its directory.
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise CheckpointError(path, f"file {shown(shard)}; accepted: a .safetensors file name", tensor)
    return cast("dict[str, str]", placement)
