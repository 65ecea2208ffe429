"""What is compared: our variants and the field's networks, each as a function of content, style and strength."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.stylizing.magenta import Magenta, is_here
from fairlead_stylization.checkpoints.decoders import read_decoder
from fairlead_stylization.checkpoints.microast import read_microast
from fairlead_stylization.checkpoints.vgg import read_vgg
from fairlead_stylization.networks.decoders import TransferNetwork, whitening_colouring
from fairlead_stylization.networks.running import shipped_stylizer, student_file
from fairlead_stylization.stylizer import NetworkStylizer, Style

Picture = NDArray[np.float32]
Method = Callable[[Picture, Picture, float], Picture]

OURS = ("edge", "quality")
THREADS = 2


class Wct(nn.Module):
    """WCT at relu3_1."""

    def __init__(self, network: TransferNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, content: Tensor, style: Tensor, strength: float) -> Tensor:
        """Pictures [1, 3, H, W]."""
        layer = self.network.decoder.last
        features, other = (self.network.encoder(picture, {layer})[layer] for picture in (content, style))
        stylized = whitening_colouring(features[0], other[0])[None]
        return self.network.decoder(torch.lerp(features, stylized, strength))


def methods(models: Path) -> dict[str, Method]:
    """All by name; `models` is the folder of the peers' weights."""
    adain = TransferNetwork(
        read_vgg(models / "vgg19_wct" / "vgg_normalised_conv3_1.pth"),
        read_decoder(models / "vgg19_wct" / "feature_invertor_conv3_1.pth"),
    )
    peers = {"AdaIN at relu3_1": adain, "WCT at relu3_1": Wct(adain), "MicroAST": read_microast(models / "microast")}
    found = {name: _ours(shipped_stylizer(name, THREADS)) for name in shipped()}
    found |= {name: _in_torch(network) for name, network in peers.items()}
    return found | (
        {"Magenta": Magenta(models / "magenta_tflite", THREADS)} if is_here(models / "magenta_tflite") else {}
    )


def shipped() -> list[str]:
    """Our variants whose weights ship."""
    return [name for name in OURS if student_file(name).is_file()]


def _ours(stylizer: NetworkStylizer) -> Method:
    return lambda content, style, strength: stylizer.stylize(content, [Style(style)], strength)


def _in_torch(network: nn.Module) -> Method:
    def run(content: Picture, style: Picture, strength: float) -> Picture:
        with torch.inference_mode():
            got = network(_tensor(content), _tensor(style), strength)[0]
        return got.clamp(0, 1).permute(1, 2, 0).numpy()

    return run


def _tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))


class _FullStrength(nn.Module):
    """A network without its strength, which exporters would make an input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Pictures [1, 3, H, W]."""
        return self.network(content, style)


def microast_in_onnx(models: Path, side: int) -> Callable[[Picture, Picture], None]:
    """MicroAST by ONNX Runtime, on as many threads as ours."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = str(Path(folder) / "microast.onnx")
        example = torch.rand(1, 3, side, side)
        names = ["content", "style"]
        network = _FullStrength(read_microast(models / "microast"))
        torch.onnx.export(network, (example, example), file, dynamo=False, opset_version=17, input_names=names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(content: Picture, style: Picture) -> None:
        session.run(None, {"content": _tensor(content).numpy(), "style": _tensor(style).numpy()})

    return run
