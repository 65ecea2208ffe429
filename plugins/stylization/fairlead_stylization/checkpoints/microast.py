"""MicroAST's checkpoints: a folder of four files, as its authors keep them."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadCheckpoint
from ..networks.microast import MicroAST
from .files import fill, read_tensors

PARTS = ("content_encoder", "style_encoder", "modulator", "decoder")


def read_microast(folder: Path | str) -> MicroAST:
    """The whole network, frozen, from `content_encoder_iter_*.pth.tar` and so on.

    Raises:
        BadCheckpoint: a part that is not there or not such a file.
    """
    network = MicroAST()
    for part in PARTS:
        files = sorted(Path(folder).glob(f"{part}*.pth*"))
        if not files:
            raise BadCheckpoint(folder, f"no file of {part}; accepted: {part}_iter_160000.pth.tar or the like")
        module = getattr(network, part)
        fill(module, read_tensors(files[-1]), {name: name for name in module.state_dict()}, files[-1])
    return network.eval().requires_grad_(False)
