"""Holds a bundle's bytes against its checksums."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

from fairlead_language_model.errors import CheckpointError

from .manifest import RESIDENT
from .reader import open_bundle
from .writer import file_crc32


def verify_bundle(path: Path, progress: Callable[[float], None] | None = None) -> None:
    """Read a whole bundle and check every checksum and order.

    Args:
        path: the bundle's directory.
        progress: is told the finished share, 0 to 1.

    Raises:
        CheckpointError, ConfigError: the first part that is damaged; names the file and the part.
    """
    bundle = open_bundle(path)
    file = bundle.path / RESIDENT
    if file_crc32(file) != bundle.manifest.resident_crc32:
        raise CheckpointError(file, f"has another checksum than {bundle.manifest.resident_crc32}: damaged")
    for index, (name, network) in enumerate(bundle.networks.items()):
        bundle.order(name)
        if zlib.crc32(bundle.read(name).data) != network.crc32:
            raise CheckpointError(bundle.neurons_file, f"has another checksum than {network.crc32}: damaged", name)
        if progress is not None:
            progress((index + 1) / len(bundle.networks))
