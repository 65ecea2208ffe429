"""Decoders as the community keeps them: AdaIN's and TSSAT's, WCT's, and the slim ones."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadCheckpoint
from ..networks.decoders import MirrorDecoder, mirrored
from ..networks.vgg import SLIM_WIDTHS, WIDTHS
from .files import fill, read_tensors

#: First convolution's outputs and inputs -> the activation that a decoder starts from.
STARTS = {(256, 512): "relu4_1", (128, 256): "relu3_1", (64, 128): "relu2_1", (3, 64): "relu1_1", (512, 512): "relu5_1"}
SLIM_STARTS = {"conv51": "relu5_1", "conv41": "relu4_1", "conv31": "relu3_1", "conv21": "relu2_1", "conv11": "relu1_1"}


def read_decoder(path: Path | str) -> MirrorDecoder:
    """A decoder from a file, frozen; which one is seen from its names and shapes.

    Read are sequences ("1.weight": AdaIN, TSSAT, WCT) and the slim form ("conv41.weight").

    Raises:
        BadCheckpoint: not such a file.
    """
    tensors = read_tensors(path)
    slim = next((name for name in SLIM_STARTS if f"{name}.weight" in tensors), None)
    if slim is not None:
        decoder = MirrorDecoder(SLIM_STARTS[slim], SLIM_WIDTHS, rectified=True)
        names = {own: _slim_name(own) for own in decoder.state_dict()}
    else:
        first = tensors.get("1.weight")
        start = STARTS.get(tuple(first.shape[:2])) if first is not None and first.ndim == 4 else None
        if start is None:
            raise BadCheckpoint(path, f"not a decoder: it has {list(tensors)[:4]}; accepted: 1.weight or conv41.weight")
        decoder = MirrorDecoder(start)
        where = places(start)
        names = {own: f"{where[own.split('.')[1]]}.{own.split('.')[2]}" for own in decoder.state_dict()}
    fill(decoder, tensors, names, path)
    return decoder.eval().requires_grad_(False)


def places(last: str) -> dict[str, int]:
    """Convolution's name -> its place in the sequence: pad, convolution, ReLU, and a doubling after a block's first."""
    found, place = {}, 1
    for name, _, _ in mirrored(last, WIDTHS):
        found[name] = place
        place += 4 if name.endswith("_1") else 3
    return found


def _slim_name(own: str) -> str:
    _, name, kind = own.split(".")
    return f"conv{name.replace('_', '')}.{kind}"
