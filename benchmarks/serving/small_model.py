"""A small Llama with random weights, as a Hugging Face checkpoint that every server reads.

Speed and memory depend on shapes alone, so random weights do; they say nothing about answers. No token ends an answer,
so that its length is what was asked for.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Dtype = Literal["float32", "bfloat16"]
BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class SmallShape:
    """Sizes of the model. The embedding is the head, too.

    Attributes:
        hidden, neurons, layers, heads, kv_heads, head_dim, vocabulary: sizes; the vocabulary holds at least 256 bytes.
        context: tokens of prompt and answer at most.
    """

    hidden: int = 256
    neurons: int = 688
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    vocabulary: int = 2048
    context: int = 2048

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 1 or self.vocabulary < 256 or self.heads % self.kv_heads:
            raise ValueError(f"{self}: accepted: sizes above 0, vocabulary 256 and above, heads a multiple of kv_heads")

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer, norms included."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return attention + 3 * self.hidden * self.neurons + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """Weights in all."""
        return self.layers * self.layer_parameters + self.vocabulary * self.hidden + self.hidden

    def token_bytes(self, dtype: Dtype) -> int:
        """Bytes of keys and values of a token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BYTES[dtype]


def prepared(shape: SmallShape, dtype: Dtype, seed: int, folder: Path) -> Path:
    """Find the checkpoint below ``folder``, or make it (needs torch, safetensors and tokenizers)."""
    wanted = {"shape": asdict(shape), "dtype": dtype, "seed": seed, "format": 1}
    path = folder / f"small-llama-{shape.parameters / 1e6:.1f}M-{dtype}-{seed}"
    made = path / "made.json"
    if made.exists() and json.loads(made.read_text()) == wanted:
        return path
    path.mkdir(parents=True, exist_ok=True)
    made.unlink(missing_ok=True)
    _write_weights(shape, dtype, seed, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(_config(shape, dtype), indent=2) + "\n")
    _write_tokenizer(shape, path)
    made.write_text(json.dumps(wanted) + "\n")
    return path


def _write_weights(shape: SmallShape, dtype: Dtype, seed: int, file: Path) -> None:
    import torch
    from safetensors.torch import save_file

    drawn = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return (torch.randn(rows, columns, generator=drawn) / columns**0.5).to(getattr(torch, dtype))

    norm = torch.ones(shape.hidden, dtype=getattr(torch, dtype))
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    tensors = {"model.embed_tokens.weight": matrix(shape.vocabulary, shape.hidden), "model.norm.weight": norm}
    for layer in range(shape.layers):
        parts = {
            "self_attn.q_proj": matrix(queries, shape.hidden),
            "self_attn.k_proj": matrix(keys, shape.hidden),
            "self_attn.v_proj": matrix(keys, shape.hidden),
            "self_attn.o_proj": matrix(shape.hidden, queries),
            "mlp.gate_proj": matrix(shape.neurons, shape.hidden),
            "mlp.up_proj": matrix(shape.neurons, shape.hidden),
            "mlp.down_proj": matrix(shape.hidden, shape.neurons),
            "input_layernorm": norm.clone(),
            "post_attention_layernorm": norm.clone(),
        }
        tensors |= {f"model.layers.{layer}.{name}.weight": tensor for name, tensor in parts.items()}
    save_file(tensors, file, metadata={"format": "pt"})


def _config(shape: SmallShape, dtype: Dtype) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.neurons,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": dtype,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _write_tokenizer(shape: SmallShape, path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    vocabulary |= {f"<{index}>": index for index in range(len(letters), shape.vocabulary)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}) + "\n")
