"""A network of random weights as the service loads one: what is tested with it does not depend on training."""

from __future__ import annotations

from pathlib import Path

import pytest


def random_network(folder: Path, variant: str = "edge", seed: int = 0) -> Path:
    """Write graphs and weights of a small student of random weights; skips where what writes them is missing."""
    torch = pytest.importorskip("torch", reason="torch is not installed: networks are not tested")
    pytest.importorskip("onnx", reason="onnx is not installed: networks are not tested")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: networks are not tested")
    from safetensors.torch import save_file

    from fairlead_stylization.networks.export import export
    from fairlead_stylization.networks.student import SHAPES, Student

    torch.manual_seed(seed)
    student = Student(SHAPES[variant])
    folder.mkdir(parents=True, exist_ok=True)
    export(student, folder, variant)
    save_file(
        {name: value.contiguous() for name, value in student.state_dict().items()}, folder / f"{variant}.safetensors"
    )
    return folder
