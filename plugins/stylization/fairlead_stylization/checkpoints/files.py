"""Files of named arrays: torch's (without running what they hold) and safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..errors import BadCheckpoint
from ..pictures import write_file


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """A file's tensors by name, on the CPU; a dictionary under "model" or "state_dict" is unwrapped.

    Raises:
        BadCheckpoint: not there, not a file of tensors, or with numbers that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise BadCheckpoint(path, "no such file; accepted: a torch or safetensors file")
    tensors = _unwrapped(path, _read(path))
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadCheckpoint(path, f"{name}: holds NaN or infinite numbers; accepted: finite ones")
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Write tensors as safetensors, whole or not at all, for whom the process's files are for.

    Raises:
        BadPicture: a path that cannot be written to.
    """
    # The library's own writer leaves files that their owner alone can read.
    return write_file(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        # Whatever the bytes are, the readers end in an error, of any class (IndexError, UnpicklingError...). torch's
        # tells how to read the file unsafely, which nobody shall do.
        told = problem.strerror if isinstance(problem, OSError) and problem.strerror else type(problem).__name__
        accepted = "a torch or safetensors file with tensors alone"
        raise BadCheckpoint(
            path, f"not a file of tensors that can be read safely ({told}); accepted: {accepted}"
        ) from problem


def _unwrapped(path: Path, content: Any) -> dict[str, Tensor]:
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise BadCheckpoint(path, f"holds {type(content).__name__}; accepted: a dictionary of tensors by name")
    return {str(name): value.float() for name, value in content.items()}


def fill(module: nn.Module, tensors: Mapping[str, Tensor], names: Mapping[str, str], path: Path | str) -> None:
    """Copy a file's tensors into a module, all of the module's and none missing.

    Args:
        module: what is filled.
        tensors: by the file's names.
        names: the module's name -> the file's.
        path: for errors.

    Raises:
        BadCheckpoint: a name that the file lacks, or a shape that differs.
    """
    state = module.state_dict()
    for own, value in state.items():
        name = names[own]
        if name not in tensors:
            raise BadCheckpoint(path, f"{name}: not in the file; it has {_some(tensors)}")
        if tensors[name].shape != value.shape:
            raise BadCheckpoint(path, f"{name}: shape {tuple(tensors[name].shape)}; accepted: {tuple(value.shape)}")
    module.load_state_dict({own: tensors[names[own]] for own in state})


def _some(tensors: Mapping[str, Tensor]) -> str:
    names = list(tensors)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
