"""A bundle's model whole on a GPU in PyTorch, dense, bfloat16, one CUDA graph a token; see ``decoding_process.py``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from fairlead_sparse_inference.engine.model import SparseModel

Layer = dict[str, torch.Tensor]


class TorchModel:
    """The plain decoder of a Llama with ReLU gates, over static tensors."""

    def __init__(self, path: Path, context: int) -> None:
        model = SparseModel.load(path, streamed=False)
        self._config, self._context = model.decoder_config, context
        config, weights = self._config, model.weights
        self._embedding = _wide(weights.embedding)
        self._head = self._embedding if weights.head is None else _wide(weights.head)
        self._norm = torch.from_numpy(weights.final_norm).cuda()
        self._layers = [_layer(one) for one in weights.layers]
        shape = (len(self._layers), config.kv_heads, context, config.head_dim)
        self._keys = torch.zeros(shape, dtype=torch.bfloat16, device="cuda")
        self._values = torch.zeros_like(self._keys)
        half = torch.arange(config.head_dim // 2, device="cuda", dtype=torch.float32)
        angles = torch.arange(context, device="cuda")[:, None] * config.rope_theta ** (-2 * half / config.head_dim)
        self._cosine, self._sine = torch.cos(angles), torch.sin(angles)
        self._token = torch.zeros(1, dtype=torch.int64, device="cuda")
        self._position = torch.zeros(1, dtype=torch.int64, device="cuda")
        self._graph = self._recorded()

    def _recorded(self) -> Any:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        return graph

    def _step(self) -> None:
        """One token; the next one and its position take its place."""
        hidden = self._embedding[self._token].float()
        seen = torch.arange(self._context, device="cuda") <= self._position
        for index, layer in enumerate(self._layers):
            hidden = hidden + self._attention(index, layer, self._normal(hidden, layer["norm"]), seen)
            x = self._normal(hidden, layer["ffn_norm"])
            hidden = hidden + ((torch.relu(x @ layer["gate"].T) * (x @ layer["up"].T)) @ layer["down_t"]).float()
        logits = self._normal(hidden, self._norm) @ self._head.T
        self._token.copy_(logits.argmax(dim=-1))
        self._position.add_(1)

    def _normal(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self._config.norm_epsilon)
        return (x * scale * weight).bfloat16()

    def _attention(
        self, index: int, layer: dict[str, torch.Tensor], x: torch.Tensor, seen: torch.Tensor
    ) -> torch.Tensor:
        config = self._config
        query = self._turned((x @ layer["query"].T).view(config.heads, config.head_dim))
        key = self._turned((x @ layer["key"].T).view(config.kv_heads, config.head_dim))
        value = (x @ layer["value"].T).view(config.kv_heads, config.head_dim)
        self._keys[index].index_copy_(1, self._position, key[:, None])
        self._values[index].index_copy_(1, self._position, value[:, None])
        mixed = torch.nn.functional.scaled_dot_product_attention(
            query[None, :, None],
            self._keys[index][None],
            self._values[index][None],
            attn_mask=seen[None],
            enable_gqa=True,
        )
        return (mixed.reshape(1, -1) @ layer["output"].T).float()

    def _turned(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.float().chunk(2, dim=-1)
        cosine, sine = self._cosine[self._position], self._sine[self._position]
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1).bfloat16()

    def greedy(self, prompt: list[int], count: int) -> dict[str, Any]:
        """``count`` tokens after a prompt, which is taken token by token."""
        began = time.perf_counter()
        for position, token in enumerate(prompt):
            self._token.fill_(token)
            self._position.fill_(position)
            self._graph.replay()
        tokens = [int(self._token.item())]
        first = time.perf_counter()
        for _ in range(count - 1):
            self._graph.replay()
            tokens.append(int(self._token.item()))
        return {"tokens": tokens, "prefill_s": first - began, "decode_s": time.perf_counter() - first}


def _wide(matrix: Any) -> torch.Tensor:
    return torch.from_numpy(matrix.dequantize()).cuda().bfloat16()


def _layer(layer: Any) -> Layer:
    names = ("query", "key", "value", "output", "gate", "up", "down_t")
    norms = {"norm": layer.attention_norm, "ffn_norm": layer.feed_forward_norm}
    return {name: _wide(getattr(layer, name)) for name in names} | {
        name: torch.from_numpy(norm).cuda() for name, norm in norms.items()
    }


def main() -> None:
    """Load, say so, and answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--context", type=int, default=512)
    asked = parser.parse_args()
    with torch.inference_mode():
        model = TorchModel(asked.model, asked.context)
        print(json.dumps({"ready": torch.cuda.get_device_name()}), flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(model.greedy(request["prompt"], request["count"])), flush=True)


if __name__ == "__main__":
    main()
