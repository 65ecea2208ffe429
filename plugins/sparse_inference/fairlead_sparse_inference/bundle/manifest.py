"""What bundle.json says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairlead_language_model.errors import CheckpointError, ConfigError

from .layout import BLOCK, BundleLayout

MANIFEST, NEURONS, RESIDENT = "bundle.json", "neurons.bin", "resident.safetensors"
#: A manifest larger than this describes no model that exists.
LONGEST_BYTES = 64 * 2**20

Natural = Field(ge=0, lt=1 << 48)
Checksum = Field(ge=0, lt=1 << 32)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PackedTensor(_Part):
    """How a uint8 tensor of the resident file is packed."""

    columns: int = Field(gt=0, le=1 << 24)
    bits: Literal[4, 8]


class Network(_Part):
    """One feed-forward network: a layer's, or that of an expert.

    Attributes:
        name: "layers.N", "layers.N.experts.E" or "layers.N.shared_expert".
        offset: where its clusters begin in the file.
        neurons: rows of each of its matrices.
        hot: how many neurons from the beginning are the often active ones, which a cache keeps together.
        crc32: of its bytes in the file.
    """

    name: str = Field(min_length=1, max_length=200)
    offset: int = Natural
    neurons: int = Field(gt=0, lt=1 << 31)
    hot: int = Field(default=0, ge=0)
    crc32: int = Checksum


class Manifest(_Part):
    """The whole file; `resident` lists the packed tensors of the resident file, `resident_crc32` is that file's."""

    format: Literal["fairlead-bundle"] = "fairlead-bundle"
    version: Literal[1] = 1
    hidden: int
    bits: int
    cluster_neurons: int
    cluster_bytes: int
    matrices: Literal[2, 3] = 3
    neurons_bytes: int = Natural
    networks: tuple[Network, ...] = Field(strict=False, min_length=1)
    resident: dict[str, PackedTensor]
    resident_crc32: int = Checksum

    @property
    def layout(self) -> BundleLayout:
        """The sizes of clusters."""
        return BundleLayout(self.hidden, self.bits, self.cluster_neurons, self.cluster_bytes, self.matrices)


def read_manifest(directory: Path) -> Manifest:
    """Read and check a bundle's manifest.

    Raises:
        CheckpointError: it is missing or is no JSON. ConfigError: names the file, the field, its value and what is
            accepted.
    """
    file = directory / MANIFEST
    try:
        if file.stat().st_size > LONGEST_BYTES:
            raise CheckpointError(file, f"is larger than {LONGEST_BYTES} bytes")
        text = file.read_bytes()
    except OSError as error:
        raise CheckpointError(file, f"cannot be read: {error.strerror or error}") from None
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise _told(file, error.errors()[0]) from None
    _check(file, manifest)
    return manifest


def _told(file: Path, problem: Any) -> ConfigError | CheckpointError:
    if problem["type"] == "json_invalid":
        return CheckpointError(file, f"is no JSON: {problem['msg']}")
    field = ".".join(map(str, problem["loc"])) or "(whole)"
    return ConfigError(file, field, problem["input"], problem["msg"])


def _check(file: Path, manifest: Manifest) -> None:
    problem = manifest.layout.why_not()
    if problem is not None:
        raise ConfigError(file, *problem)
    names: set[str] = set()
    end = 0
    for index, network in enumerate(sorted(manifest.networks, key=lambda one: one.offset)):
        where = f"networks.{index}.{network.name}"
        if network.name in names:
            raise ConfigError(file, f"{where}.name", network.name, "each name once")
        names.add(network.name)
        if network.hot > network.neurons:
            raise ConfigError(file, f"{where}.hot", network.hot, f"at most neurons = {network.neurons}")
        if network.offset % BLOCK or network.offset < end:
            raise ConfigError(file, f"{where}.offset", network.offset, f"a multiple of {BLOCK}, {end} or more")
        end = network.offset + manifest.layout.network_bytes(network.neurons)
        if end > manifest.neurons_bytes:
            accepted = f"networks that end within neurons_bytes = {manifest.neurons_bytes}"
            raise ConfigError(file, f"{where}.neurons", network.neurons, accepted)
