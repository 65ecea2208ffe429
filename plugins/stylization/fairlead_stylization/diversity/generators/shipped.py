"""The small generators that come with this package, and their weights as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...checkpoints.files import write_tensors
from ...errors import BadCheckpoint, BadSetting
from .training import KINDS, Kind

FOLDER = Path(__file__).parents[2] / "weights"


def shipped_generator(kind: Kind) -> torch.nn.Module:
    """Return the trained inpainting or colorization network; raises BadSetting for any other."""
    if kind not in KINDS:
        raise BadSetting(f"generator {kind!r}; accepted: {', '.join(KINDS)}")
    return load_generator(FOLDER / f"{kind}.safetensors", kind)


def load_generator(path: Path, kind: Kind) -> torch.nn.Module:
    """Load one that was trained; raises BadCheckpoint where a tensor is missing, misshapen or not finite."""
    try:
        tensors: dict[str, Any] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(path, f"cannot be read ({error}); accepted: safetensors of a {kind} network") from error
    network = KINDS[kind]()
    for name, wanted in network.state_dict().items():
        found = tensors.get(name)
        if found is None or found.shape != wanted.shape:
            told = "missing" if found is None else f"shape {tuple(found.shape)}"
            raise BadCheckpoint(path, f"{name}: {told}; accepted: {tuple(wanted.shape)}")
        if not torch.isfinite(found).all():
            raise BadCheckpoint(path, f"{name}: values that are not finite; accepted: finite ones")
    network.load_state_dict({name: tensors[name].float() for name in network.state_dict()})
    return network.eval().requires_grad_(False)


def save_generator(network: torch.nn.Module, path: Path) -> None:
    """Save a trained network in half precision, which its results do not show."""
    write_tensors(path, {name: value.half() for name, value in network.state_dict().items()})
