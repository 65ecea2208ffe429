"""Small models with random weights, in transformers and on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

SHAPE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 160,
    "eos_token_id": 96,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-biases-tied-gelu": (
        "Llama",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "hidden_act": "gelu"},
    ),
    "llama3-scaling-relu": ("Llama", {"rope_parameters": LLAMA3, "hidden_act": "relu"}),
    "mistral-window": ("Mistral", {"sliding_window": 23, "head_dim": 16}),
    "qwen2": ("Qwen2", {}),
    "qwen2-window-from-layer-1": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 19, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {"head_dim": 16}),
}


class RandomModel:
    """A model of transformers with weights that give clear winners, saved to a directory."""

    def __init__(self, family: str, directory: Path, **extra: Any) -> None:
        torch = pytest.importorskip("torch", reason="the engine computes in torch")
        transformers = pytest.importorskip("transformers", reason="transformers holds the reference models")
        name, settings = FAMILIES[family]
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(**{**SHAPE, **settings, **extra})
        self.model = getattr(transformers, f"{name}ForCausalLM")(config).float().eval()
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.3)
        self.directory = directory
        self.model.save_pretrained(directory)
        tokenizer().save(str(directory / "tokenizer.json"))

    def logits(self, tokens: list[int]) -> np.ndarray:
        """Return logits float32 [tokens, vocabulary]."""
        import torch

        with torch.no_grad():
            return self.model(torch.tensor([tokens])).logits[0].numpy()

    def greedy(self, prompt: list[int], tokens: int) -> list[int]:
        """Return the most likely continuation, end tokens taken like any other."""
        import torch

        with torch.no_grad():
            out = self.model.generate(
                torch.tensor([prompt]), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, eos_token_id=None
            )
        return out[0, len(prompt) :].tolist()


def tokenizer() -> tokenizers.Tokenizer:
    """Return a tokenizer whose tokens are the printable characters of ASCII and a line's end; the last ends a text."""
    characters = [chr(code) for code in range(33, 127)] + ["\u0120", "\u010a"]
    core = tokenizers.Tokenizer(tokenizers.models.BPE({name: i for i, name in enumerate(characters)}, []))
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    core.add_special_tokens(["<end>"])
    return core


def some_tokens(count: int, seed: int = 0) -> list[int]:
    """Return random tokens."""
    return [int(token) for token in np.random.default_rng(seed).integers(0, SHAPE["vocab_size"] - 1, count)]
