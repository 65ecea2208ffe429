"""Opens a bundle directory."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import PackedMatrix
from fairlead_kernels.weight_memory import WeightMemory
from fairlead_language_model.errors import CheckpointError
from fairlead_language_model.safetensors_file import SafetensorsFile

from .layout import BundleLayout
from .manifest import MANIFEST, NEURONS, RESIDENT, Manifest, Network, read_manifest
from .writer import is_order


def is_bundle(path: Path) -> bool:
    """Return whether a directory holds a bundle."""
    return (path / MANIFEST).is_file()


def open_bundle(path: Path) -> Bundle:
    """Open a bundle; sizes are checked, contents are not (`verify_bundle` does that).

    Raises:
        CheckpointError, ConfigError: a file is missing, too short or malformed; names it and the part.
    """
    return Bundle(Path(path))


class Bundle:
    """An opened bundle. Resident tensors are mapped, neurons are read when they are asked for.

    Attributes:
        memory: where weights go that are to stay.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: Manifest = read_manifest(path)
        self.layout: BundleLayout = self.manifest.layout
        self.neurons_file = path / NEURONS
        self.memory = WeightMemory()
        self.networks: dict[str, Network] = {network.name: network for network in self.manifest.networks}
        self._check_size()
        self._resident = SafetensorsFile(path / RESIDENT)
        for name, packed in self.manifest.resident.items():
            self._check_packed(name, packed.columns, packed.bits)

    @cached_property
    def tensor_names(self) -> frozenset[str]:
        """Names of the resident tensors."""
        return frozenset(self._resident.entries)

    def tensor(self, name: str) -> PackedMatrix | NDArray[Any]:
        """Return a resident tensor: a view of the mapped file.

        Raises:
            CheckpointError: there is none of that name.
        """
        if name not in self._resident.entries:
            raise CheckpointError(self.path / RESIDENT, "is missing", name)
        packed = self.manifest.resident.get(name)
        stored = self._resident.raw(name)
        return stored if packed is None else PackedMatrix(stored, packed.columns, packed.bits)

    def order(self, name: str) -> NDArray[np.int32]:
        """Return int32 [neurons]: the neuron at each place of a network in the file.

        Raises:
            CheckpointError: it does not hold each neuron once.
        """
        order: Any = self.tensor(f"{name}.order")
        if not isinstance(order, np.ndarray) or not is_order(order, self.networks[name].neurons):
            accepted = f"int32, each of 0..{self.networks[name].neurons - 1} once"
            raise CheckpointError(self.path / RESIDENT, f"is no order; accepted: {accepted}", f"{name}.order")
        # A copy: who keeps an order must not keep the whole mapped file with it.
        return np.array(order, np.int32)

    def rows(self, name: str, *, apart: bool = False) -> dict[str, PackedMatrix]:
        """Read a network whole into `memory`: gate, up (if any) and down_t [neurons, hidden] in the model's order.

        ``apart``: each in memory of its own, where all rows of one follow one another, rather than a neuron's rows side
        by side. Products of all gates, or with all neurons, are then read in a stream, a third faster; for neurons that
        a predictor chooses one place in memory instead of three is a tenth faster.
        """
        order, layout = self.order(name), self.layout
        stored = self.read(name).reshape(-1, layout.stride)[: len(order)]
        names = ("gate", "up", "down_t") if layout.matrices == 3 else ("gate", "down_t")
        widths = [layout.row_bytes] * len(names) if apart else [len(names) * layout.row_bytes]
        parts: list[NDArray[np.uint8]] = []
        for index, width in enumerate(widths):
            rows = self.memory.empty(len(order), width)
            rows[order] = stored[:, index * width : (index + 1) * width]
            parts += np.split(rows, width // layout.row_bytes, axis=1)
        return {name: PackedMatrix(part, layout.hidden, layout.bits) for name, part in zip(names, parts, strict=True)}

    def first_rows(self, name: str, count: int) -> dict[str, PackedMatrix]:
        """Read gate, up (if any) and down_t [count, hidden] of a network's first places, in the order of the file."""
        layout = self.layout
        stored = self.read(name, count).reshape(-1, layout.stride)[:count]
        parts = np.split(stored[:, : layout.matrices * layout.row_bytes], layout.matrices, axis=1)
        names = ("gate", "up", "down_t") if layout.matrices == 3 else ("gate", "down_t")
        packed = (PackedMatrix(np.ascontiguousarray(part), layout.hidden, layout.bits) for part in parts)
        return dict(zip(names, packed, strict=True))

    def read(self, name: str, neurons: int | None = None) -> NDArray[np.uint8]:
        """Return the bytes of a network as they lie in the file: of all clusters, or of those of its first neurons."""
        network = self.networks[name]
        size = self.layout.network_bytes(network.neurons if neurons is None else neurons)
        try:
            content = np.fromfile(self.neurons_file, np.uint8, size, offset=network.offset)
        except OSError as error:
            raise CheckpointError(self.neurons_file, f"cannot be read: {error.strerror or error}", name) from error
        if content.size != size:
            raise CheckpointError(self.neurons_file, f"ends after {content.size} of {size} bytes: truncated?", name)
        return content

    def _check_size(self) -> None:
        try:
            size = self.neurons_file.stat().st_size
        except OSError as error:
            raise CheckpointError(self.neurons_file, f"cannot be read: {error.strerror or error}") from None
        if size != self.manifest.neurons_bytes:
            raise CheckpointError(
                self.neurons_file, f"is {size} bytes long; the manifest says {self.manifest.neurons_bytes}: truncated?"
            )

    def _check_packed(self, name: str, columns: int, bits: int) -> None:
        if name not in self._resident.entries:
            raise CheckpointError(self.path / RESIDENT, f"is missing; {MANIFEST} lists it", name)
        try:
            PackedMatrix(self._resident.raw(name), columns, bits)
        except ValueError as error:
            raise CheckpointError(self.path / RESIDENT, f"is no packed matrix: {error}", name) from None
