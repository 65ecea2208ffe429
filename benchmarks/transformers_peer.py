"""A checkpoint with dReLU layers in Hugging Face's transformers: the peer of the decode benchmark.

dReLU(x) = max(0, x W_gate) * max(0, x W_up) (TurboSparse, section 3.2). transformers' Llama applies an activation to
the gate only, so its feed-forward network is replaced; everything else is the library's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.config import ModelConfig


class DreluMLP(torch.nn.Module):
    """Llama's feed-forward network with ReLU on gate and up."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        width, neurons = config.hidden_size, config.intermediate_size
        self.gate_proj = torch.nn.Linear(width, neurons, bias=False)
        self.up_proj = torch.nn.Linear(width, neurons, bias=False)
        self.down_proj = torch.nn.Linear(neurons, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, tokens, width] to the same shape."""
        return self.down_proj(torch.relu(self.gate_proj(x)) * torch.relu(self.up_proj(x)))


class TransformersPeer:
    """The checkpoint at ``path`` as float32 on the CPU, with a KV cache. ``barred`` tokens are never taken."""

    def __init__(self, path: Path, barred: Iterable[int] = ()) -> None:
        checkpoint = open_checkpoint(path)
        config = _config(checkpoint.config)
        with _patched(modeling_llama):
            self._model = LlamaForCausalLM(config).eval()
        state = {
            name: torch.from_numpy(checkpoint.array(name, checkpoint.shape(name)).copy()) for name in checkpoint.names()
        }
        if config.tie_word_embeddings:
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
        self._model.load_state_dict(state)
        self._barred = torch.tensor(sorted(barred), dtype=torch.long)

    @torch.inference_mode()
    def greedy(self, prompt: list[int], count: int, threads: int) -> tuple[list[int], float]:
        """``count`` tokens after a prompt, and tokens per second from the first to the last of them.

        The loop is written out: it has less overhead than ``generate``, which is slower for a model of this size.
        """
        torch.set_num_threads(threads)
        state = self._model(torch.tensor([prompt]), use_cache=True)
        tokens = [self._best(state.logits[0, -1])]
        began = time.perf_counter()
        while len(tokens) < count:
            last = torch.tensor([tokens[-1:]])
            state = self._model(last, past_key_values=state.past_key_values, use_cache=True)
            tokens.append(self._best(state.logits[0, -1]))
        return tokens, (count - 1) / (time.perf_counter() - began)

    def _best(self, logits: torch.Tensor) -> int:
        return int(logits.index_fill_(0, self._barred, -torch.inf).argmax())


class _patched:
    """Lets the library build its layers with :class:`DreluMLP`."""

    def __init__(self, module: ModuleType) -> None:
        self._module: Any = module

    def __enter__(self) -> None:
        self._before, self._module.LlamaMLP = self._module.LlamaMLP, DreluMLP

    def __exit__(self, *_: object) -> None:
        self._module.LlamaMLP = self._before


def _config(config: ModelConfig) -> LlamaConfig:
    if config.activation != "drelu":
        raise ValueError(f"activation {config.activation!r}: this peer takes 'drelu' models")
    return LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_position_embeddings,
        rms_norm_eps=config.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=True,
    )
