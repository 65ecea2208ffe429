"""The weights of a model as its files hold them, under Hugging Face's tensor names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import PackedMatrix, Q8Matrix

from .config import ModelConfig
from .errors import CheckpointError

Matrix = NDArray[np.float32] | Q8Matrix

# A matrix NAME may be stored transposed under NAME_t: down projections are, so that a neuron's weights lie together.
TRANSPOSED = "_t"


class Checkpoint(ABC):
    """An opened checkpoint: a config, and tensors that are read when they are asked for.

    Names are those of Hugging Face's layout ("model.layers.0.mlp.gate_proj.weight"), whatever the file says.
    Every read states the shape that the model needs; a tensor that is missing or has another one raises
    CheckpointError.
    """

    path: Path
    config: ModelConfig
    #: The score from which on a predictor in the checkpoint expects a neuron to fire.
    predictor_threshold: float = 0.0

    @abstractmethod
    def names(self) -> Collection[str]:
        """Return the tensors' names; a Q8 pair counts as one tensor."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""

    @abstractmethod
    def _float32(self, name: str) -> NDArray[np.float32]:
        """Return an existing tensor as float32."""

    @abstractmethod
    def _q8(self, name: str) -> Q8Matrix | None:
        """Return an existing tensor as it is stored in Q8 groups, or None where it is stored otherwise."""

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return a tensor as float32 [shape], dequantized; a read-only view of the file where it is stored so."""
        self._require(name, shape)
        return self._float32(name)

    def matrix(self, name: str, shape: tuple[int, int]) -> Matrix:
        """Return a matrix [rows, columns] as a Q8Matrix where it is stored in Q8 groups, else as float32."""
        self._require(name, shape)
        stored = self._q8(name)
        return self._float32(name) if stored is None else stored

    def packed(self, name: str, shape: tuple[int, int]) -> PackedMatrix | None:
        """Return a matrix [rows, columns] that is stored in 4-bit groups without a change of a weight; else None."""
        self._require(name, shape)
        return self._q4(name)

    def _q4(self, name: str) -> PackedMatrix | None:
        """Return an existing tensor as it is stored in 4-bit groups, or None where it is stored otherwise."""
        return None

    @property
    def holds_q4(self) -> bool:
        """Whether matrices are stored in 4-bit groups."""
        return False

    def transposed(self, name: str, shape: tuple[int, int]) -> Q8Matrix | None:
        """Return the transpose [columns, rows] of a matrix in Q8 groups, where the file holds it so; else None."""
        return None

    def _require(self, name: str, shape: tuple[int, ...]) -> None:
        if name not in self.names():
            raise CheckpointError(self.path, "is missing", name)
        if self.shape(name) != shape:
            raise CheckpointError(self.path, f"has shape {self.shape(name)}; the config asks for {shape}", name)


def open_checkpoint(path: Path | str) -> Checkpoint:
    """Open a directory in Hugging Face's layout (config.json and safetensors, single or sharded) or a .gguf file.

    Raises CheckpointError or ConfigError. Files are mapped, so they must not be shortened while the model is in use.
    """
    from .gguf_checkpoint import GgufCheckpoint
    from .hf_checkpoint import HfCheckpoint

    path = Path(path)
    if path.is_dir():
        return HfCheckpoint(path)
    if path.suffix == ".gguf":
        return GgufCheckpoint(path)
    if path.exists():
        raise CheckpointError(path, "accepted: a directory with config.json and safetensors, or a .gguf file")
    raise CheckpointError(path, "no such file or directory")
