"""Writes a bundle directory: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fairlead_kernels import PackedMatrix
from fairlead_language_model.errors import CheckpointError

from ..whole_file import whole_file
from .layout import BundleLayout
from .manifest import MANIFEST, NEURONS, RESIDENT, Manifest, Network, PackedTensor

#: What a checkpoint in the Hugging Face layout has beside its weights.
_SIDE_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "chat_template.jinja",
)


@dataclass(frozen=True, eq=False, slots=True)
class NetworkRows:
    """One feed-forward network to be written.

    Attributes:
        name: "layers.N", "layers.N.experts.E" or "layers.N.shared_expert".
        gate, up, down_t: packed [neurons, hidden], in the order of the model; a network without gate has its first
            matrix as gate, and no up.
        order: int32 [neurons], the neuron that goes to each place of the file; None: as they come.
        hot: how many of them, from the first on, are the often active ones.
    """

    name: str
    gate: PackedMatrix
    up: PackedMatrix | None
    down_t: PackedMatrix
    order: NDArray[np.int32] | None = None
    hot: int = 0

    @property
    def matrices(self) -> dict[str, PackedMatrix]:
        """The matrices that there are, in the order in which their rows lie in a bundle."""
        up = {} if self.up is None else {"up": self.up}
        return {"gate": self.gate, **up, "down_t": self.down_t}

    def check(self, layout: BundleLayout) -> None:
        """Raise ValueError where a part does not fit the layout or the other parts."""
        shape = (self.gate.shape[0], layout.hidden)
        if len(self.matrices) != layout.matrices:
            raise ValueError(f"{self.name}: must have {layout.matrices} matrices, got {len(self.matrices)}")
        for name, matrix in self.matrices.items():
            if matrix.shape != shape or matrix.bits != layout.bits:
                found = f"{list(matrix.shape)} of {matrix.bits} bits"
                raise ValueError(f"{self.name}.{name}: must be {list(shape)} of {layout.bits} bits, got {found}")
        if self.order is not None and not is_order(self.order, shape[0]):
            raise ValueError(f"{self.name}.order: must be int32, each of 0..{shape[0] - 1} once")
        if not 0 <= self.hot <= shape[0]:
            raise ValueError(f"{self.name}.hot: must be 0..{shape[0]}, got {self.hot}")


def is_order(order: NDArray[Any], neurons: int) -> bool:
    """Return whether an array is int32 and holds each neuron once."""
    if order.dtype != np.int32 or order.shape != (neurons,):
        return False
    seen = np.zeros(neurons, bool)
    inside = (order >= 0) & (order < neurons)
    seen[order[inside]] = True
    return bool(seen.all())


def checkpoint_files(directory: Path) -> dict[str, bytes]:
    """Return the config and tokenizer files of a checkpoint in the Hugging Face layout, by name."""
    found = (directory / name for name in _SIDE_FILES)
    return {file.name: file.read_bytes() for file in found if file.is_file()}


def write_bundle(
    path: Path,
    networks: Iterable[NetworkRows],
    resident: Mapping[str, PackedMatrix | NDArray[Any]],
    files: Mapping[str, bytes],
    *,
    layout: BundleLayout,
) -> Manifest:
    """Write a bundle directory; until it is whole it has another name, so no half-written one is ever found.

    Args:
        path: must not exist, or be an empty directory.
        networks: taken one at a time, so a generator keeps one network in memory.
        resident: the tensors that stay in memory, by name; looked at after the last network.
        files: what else lies in the directory (`checkpoint_files`), by name.
        layout: sizes of clusters, usually `BundleLayout.of(hidden, bits)`.

    Raises:
        CheckpointError: the directory exists, or a file cannot be written (a full disk): names it.
        ValueError: a network or tensor does not fit; names it.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise CheckpointError(path, "exists already; accepted: a new or an empty directory")
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        manifest = _write(partial, networks, resident, files, layout)
        if path.exists():
            path.rmdir()
        partial.rename(path)
    except OSError as error:
        raise CheckpointError(error.filename or path, f"cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write(
    folder: Path,
    networks: Iterable[NetworkRows],
    resident: Mapping[str, PackedMatrix | NDArray[Any]],
    files: Mapping[str, bytes],
    layout: BundleLayout,
) -> Manifest:
    for name, content in files.items():
        (folder / Path(name).name).write_bytes(content)
    tensors: dict[str, NDArray[Any]] = {}
    written = _write_networks(folder / NEURONS, networks, layout, tensors)
    tensors |= {name: _stored(value) for name, value in resident.items()}
    with whole_file(folder / RESIDENT) as file:
        save_file(tensors, file)
    manifest = Manifest(
        hidden=layout.hidden,
        bits=layout.bits,
        cluster_neurons=layout.cluster_neurons,
        cluster_bytes=layout.cluster_bytes,
        matrices=3 if layout.matrices == 3 else 2,
        neurons_bytes=(folder / NEURONS).stat().st_size,
        networks=tuple(written),
        resident={n: PackedTensor(columns=v.columns, bits=v.bits) for n, v in resident.items() if _is_packed(v)},
        resident_crc32=file_crc32(folder / RESIDENT),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
    for file in folder.iterdir():
        _flush(file)
    return manifest


def _write_networks(
    file: Path, networks: Iterable[NetworkRows], layout: BundleLayout, tensors: dict[str, NDArray[Any]]
) -> list[Network]:
    written: list[Network] = []
    with file.open("wb") as out:
        for rows in networks:
            rows.check(layout)
            count = rows.gate.shape[0]
            order = np.arange(count, dtype=np.int32) if rows.order is None else rows.order
            tensors[f"{rows.name}.order"] = order
            content = _clusters(rows, order, layout)
            network = Network(
                name=rows.name, offset=out.tell(), neurons=count, hot=rows.hot, crc32=zlib.crc32(content.data)
            )
            try:
                out.write(content.data)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(file)) from error
            written.append(network)
    return written


def _clusters(rows: NetworkRows, order: NDArray[np.int32], layout: BundleLayout) -> NDArray[np.uint8]:
    """The bytes of a network: gate | up (if any) | down_t of each neuron in the order of the file, padded."""
    width = layout.row_bytes
    content = np.zeros((layout.clusters(len(order)) * layout.cluster_neurons, layout.stride), np.uint8)
    for index, matrix in enumerate(rows.matrices.values()):
        content[: len(order), index * width : (index + 1) * width] = matrix.data[order]
    return content.reshape(-1)


def _is_packed(value: PackedMatrix | NDArray[Any]) -> bool:
    return isinstance(value, PackedMatrix)


def _stored(value: PackedMatrix | NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(value.data if isinstance(value, PackedMatrix) else value)


def file_crc32(file: Path) -> int:
    """Return the checksum of a file."""
    checksum = 0
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _flush(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
