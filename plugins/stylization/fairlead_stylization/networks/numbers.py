"""What features are kept in: float32, bfloat16, or bytes for what is convolved and bfloat16 for the rest."""

from __future__ import annotations

from fairlead_kernels import feature_maps
from fairlead_kernels.feature_maps import FeatureMap, Kind

Numbers = Kind

#: Of bytes that stand for numbers of both signs.
MIDDLE = 128


def fastest() -> Numbers:
    """What this processor's kernels are fastest with."""
    by = feature_maps.halves_by()
    # Tiles multiply bfloat16 faster than other instructions multiply bytes.
    if by != "amx" and feature_maps.bytes_by() == "avx512vnni":
        return "bytes"
    return "halves" if by in ("amx", "avx512bf16") else "floats"


def convolved_map(height: int, width: int, channels: int, numbers: Numbers, zero: int = 0) -> FeatureMap:
    """A map that filters of 3 x 3 are laid on; bytes get their scale from what fills it."""
    if numbers == "bytes":
        return FeatureMap.zeros_in_bytes(height, width, channels, 1, zero=zero)
    return FeatureMap.zeros(height, width, channels, 1, numbers == "halves")


def kept_map(height: int, width: int, channels: int, numbers: Numbers) -> FeatureMap:
    """A map that none of these are laid on."""
    return FeatureMap.zeros(height, width, channels, 0, numbers != "floats")
