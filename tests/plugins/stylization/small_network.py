"""A network of random weights as the service loads one: what is tested with it does not depend on training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def random_network(folder: Path, variant: str = "edge", seed: int = 0) -> Path:
    """Write graphs and weights of a small student of random weights; skips where what writes them is missing."""
    torch = pytest.importorskip("torch", reason="torch is not installed: networks are not tested")
    pytest.importorskip("onnx", reason="onnx is not installed: networks are not tested")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: networks are not tested")
    from safetensors.torch import save_file

    from fairlead_stylization.networks.export import export
    from fairlead_stylization.networks.shape import SHAPES
    from fairlead_stylization.networks.student import Student

    torch.manual_seed(seed)
    student = Student(SHAPES[variant])
    folder.mkdir(parents=True, exist_ok=True)
    export(student, folder, variant)
    save_file(
        {name: value.contiguous() for name, value in student.state_dict().items()}, folder / f"{variant}.safetensors"
    )
    return folder


def random_clip(folder: Path, words: str, seed: int = 0) -> Path:
    """Write a small CLIP of random weights, as Hugging Face does, that reads these words letter by letter."""
    torch = pytest.importorskip("torch", reason="torch is not installed: texts are not tested")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: texts are not tested")
    letters = sorted(set(words) - {" "})
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    start, end = len(vocabulary) - 2, len(vocabulary) - 1
    text = {"vocab_size": len(vocabulary), "max_position_embeddings": 24, "bos_token_id": start, "eos_token_id": end}
    config = transformers.CLIPConfig(
        text_config=shape | text, vision_config=shape | {"image_size": 32, "patch_size": 8}, projection_dim=8
    )
    torch.manual_seed(seed)
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder
