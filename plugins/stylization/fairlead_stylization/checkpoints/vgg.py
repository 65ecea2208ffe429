"""VGG-19 as the style transfer community keeps it.

Two forms are read: `vgg_normalised` (AdaIN, TSSAT and WCT: a sequence in which every convolution follows a padding
layer, so that names are places such as "2.weight"), of any depth; and the slim one of Collaborative Distillation
(CVPR 2020: "conv11.weight").
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..errors import BadCheckpoint
from ..networks.vgg import BLOCKS, SLIM_WIDTHS, Vgg19, convolutions
from .files import fill, read_tensors

DEEPEST = tuple(f"relu{block}_{index}" for block, count in enumerate(BLOCKS, 1) for index in range(1, count + 1))


def places(last: str) -> dict[str, int]:
    """Convolution's name ("1_1") -> its place in the sequence: pad, convolution, ReLU, and a pooling between blocks."""
    found: dict[str, int] = {}
    place, block = 2, "1"
    for name, _, _ in convolutions(last):
        place += 1 if name[0] != block else 0
        found[name], block = place, name[0]
        place += 3
    return found


def read_vgg(path: Path | str, last: str | None = None) -> Vgg19:
    """VGG-19 from a file, frozen.

    Args:
        path: of the file.
        last: the deepest activation that is wanted; the deepest that the file has where None.

    Raises:
        BadCheckpoint: not such a file, or not as deep.
    """
    tensors = read_tensors(path)
    slim = "conv11.weight" in tensors
    deepest = _deepest(tensors, slim)
    if deepest is None:
        raise BadCheckpoint(path, f"not VGG-19: it has {list(tensors)[:4]}; accepted: 0.weight or conv11.weight")
    network = Vgg19(last or deepest, SLIM_WIDTHS) if slim else Vgg19(last or deepest)
    fill(network, tensors, {own: _name(own, network.last, slim) for own in network.state_dict()}, path)
    return network.eval().requires_grad_(False)


def _name(own: str, last: str, slim: bool) -> str:
    """Name in the file of a network's "colours.weight" or "layers.1_1.weight"."""
    *where, kind = own.split(".")
    if where[0] == "colours":
        return f"conv0.{kind}" if slim else f"0.{kind}"
    return f"conv{where[1].replace('_', '')}.{kind}" if slim else f"{places(last)[where[1]]}.{kind}"


def _deepest(tensors: dict[str, Tensor], slim: bool) -> str | None:
    known = [name for name in DEEPEST if _name(f"layers.{name[4:]}.weight", "relu5_1", slim) in tensors]
    return known[-1] if known else None
