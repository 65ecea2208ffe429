"""A profile on disk: arrays in one .npz, and its summary as JSON inside and beside it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...bundle import NetworkName
from ...whole_file import whole_file
from ..reporting import finite, write_json

VERSION = 1
_ARRAYS = ("gate_counts", "counts", "fire_counts", "magnitude", "histogram", "order", "trace")


class ProfileError(ValueError):
    """A profile's file is damaged, or is of another model: names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """One network: a layer's, or an expert's over the tokens that it gets.

    `gate_counts`, `counts` and `fire_counts` say how many of all tokens a neuron's gate, its activation, and what the
    profile counts as firing were not zero, int64 [neurons]; `magnitude` sums |activation|; `histogram` counts
    magnitudes by half powers of two; `order` is the co-activation order, int32 [neurons]; `trace` packs which neurons
    fire for the first tokens, uint8 [tokens, ceil(neurons / 8)].
    """

    gate_counts: NDArray[np.int64]
    counts: NDArray[np.int64]
    fire_counts: NDArray[np.int64]
    magnitude: NDArray[np.float64]
    histogram: NDArray[np.int64]
    order: NDArray[np.int32]
    trace: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole model's profile, network by network; `summary` is what its JSON file holds."""

    summary: dict[str, Any]
    layers: tuple[LayerProfile, ...]

    @property
    def tokens(self) -> int:
        """How many tokens were observed."""
        return int(self.summary["tokens"])

    def frequencies(self) -> list[NDArray[np.float64]]:
        """Return for each network the share of all tokens for which each neuron fires."""
        return [layer.fire_counts / self.tokens for layer in self.layers]


def write_profile(profile: Profile, path: Path) -> None:
    """Write `path` and, beside it, the summary under the suffix .json; each whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"summary": np.asarray(json.dumps({"version": VERSION, **finite(profile.summary)}))}
    for number, layer in enumerate(profile.layers):
        arrays |= {f"{number}.{name}": getattr(layer, name) for name in _ARRAYS}
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    write_json(path.with_suffix(".json"), profile.summary)


def read_profile(path: Path) -> Profile:
    """Read a profile; raises ProfileError for anything that is not one."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return _parsed(stored, path)
    except FileNotFoundError:
        raise ProfileError(f"{path}: no such file; `fairlead sparse profile` writes one") from None
    except ProfileError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        # NumPy's own words advise to load what is no array as code.
        raise ProfileError(f"{path}: is no whole profile; `fairlead sparse profile` writes one") from error


def require_model(profile: Profile, networks: Sequence[NetworkName], path: Path) -> None:
    """Raise ProfileError unless a profile has a model's networks and neurons."""
    found, wanted = [len(layer.order) for layer in profile.layers], [name.neurons for name in networks]
    if found != wanted:
        kind = "networks" if any(name.expert is not None for name in networks) else "layers"
        says = (f"{len(found)} {kind} of {_sizes(found)} neurons", f"{len(wanted)} of {_sizes(wanted)}")
        raise ProfileError(f"{path}: profile of {says[0]}; the model has {says[1]}")


def _sizes(sizes: list[int]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else f"{min(sizes)} to {max(sizes)}"


def _parsed(stored: Mapping[str, Any], path: Path) -> Profile:
    summary = json.loads(str(stored["summary"]))
    if summary.pop("version") != VERSION:
        raise ProfileError(f"{path}: version is not {VERSION}; accepted: {VERSION}")
    layers = tuple(
        LayerProfile(**{name: stored[f"{number}.{name}"] for name in _ARRAYS})
        for number in range(len(summary["layers"]))
    )
    if not layers:
        raise ProfileError(f"{path}: holds no layer")
    for number, layer in enumerate(layers):
        _check(layer, len(layer.order), f"{path}: layer {number}")
    return Profile(summary, layers)


def _check(layer: LayerProfile, neurons: int, where: str) -> None:
    sizes = {name: getattr(layer, name).shape for name in ("gate_counts", "counts", "fire_counts", "magnitude")}
    wrong = [name for name, shape in sizes.items() if shape != (neurons,)]
    if wrong:
        raise ProfileError(f"{where}: {wrong[0]} has shape {sizes[wrong[0]]}; accepted: ({neurons},)")
    if not np.array_equal(np.sort(layer.order), np.arange(neurons)):
        raise ProfileError(f"{where}: order is no permutation of {neurons} neurons")
    if layer.trace.ndim != 2 or layer.trace.shape[1] != -(-neurons // 8):
        raise ProfileError(f"{where}: trace has shape {layer.trace.shape}; accepted: (tokens, {-(-neurons // 8)})")
