"""A sentence-transformers folder with random weights: small, and computed as any other is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

WORDS = [
    "the",
    "a",
    "whale",
    "white",
    "sea",
    "ship",
    "captain",
    "hunts",
    "old",
    "moby",
    "rain",
    "fell",
    "on",
    "garden",
    "rose",
    "red",
    "love",
    "song",
    "tea",
]
CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
}


def random_text_model(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write the folder; needs safetensors and tokenizers."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {**CONFIG, "vocab_size": len(vocabulary), **changes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    save_file(_weights(config, np.random.default_rng(seed)), folder / "model.safetensors")
    return folder


def _weights(config: dict[str, Any], random: np.random.Generator) -> dict[str, np.ndarray]:
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    rows = {"word": config["vocab_size"], "position": config["max_position_embeddings"], "token_type": 2}
    found = {f"embeddings.{name}_embeddings.weight": (count, hidden) for name, count in rows.items()}
    square = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    shapes = {**dict.fromkeys(square, (hidden, hidden)), "intermediate.dense": (wide, hidden)}
    shapes["output.dense"] = (hidden, wide)
    for layer in range(config["num_hidden_layers"]):
        for name, shape in shapes.items():
            found[f"encoder.layer.{layer}.{name}.weight"] = shape
            found[f"encoder.layer.{layer}.{name}.bias"] = shape[:1]
    weights = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in found.items()}
    norms = ["embeddings.LayerNorm"]
    for layer in range(config["num_hidden_layers"]):
        norms += [f"encoder.layer.{layer}.{part}.LayerNorm" for part in ("attention.output", "output")]
    for name in norms:
        weights[f"{name}.weight"] = random.normal(1, 0.1, hidden).astype(np.float32)
        weights[f"{name}.bias"] = random.normal(0, 0.1, hidden).astype(np.float32)
    return weights
