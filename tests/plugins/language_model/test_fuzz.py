"""Lying files: each one opens, or is refused by one documented error that names it, and makes nothing large."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.errors import LanguageModelError
from fairlead_language_model.graph import KVPages, LlamaGraph, PageTable, load_predictors, load_weights
from fairlead_language_model.tokenizer import open_tokenizer
from tests.plugins.language_model.mutations import GgufSpec, changed_gguf, changed_json, gguf_spec, to_json

#: What reading a model of a hundred kilobytes may allocate at most.
MOST_BYTES = 32 * 2**20
EXAMPLES = int(os.environ.get("FAIRLEAD_FUZZ_EXAMPLES", "100"))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
MOE = {"num_experts_per_tok": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "layer_types": ["full_attention"]},
    "opt": {"architectures": ["OPTForCausalLM"], "ffn_dim": 64, "do_layer_norm_before": True, "enable_bias": True},
    "mixtral": {"architectures": ["MixtralForCausalLM"], "num_local_experts": 3, **MOE},
    "qwen2_moe": {
        "architectures": ["Qwen2MoeForCausalLM"],
        "num_experts": 3,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        **MOE,
    },
    "prosparse": {"architectures": ["SparseLlamaForCausalLM"], "hidden_act": "fatrelu", "hidden_act_param": 0.01},
}


@contextmanager
def refused_or_read(file: Path) -> Iterator[None]:
    """Let only documented errors pass that name the file or its directory, and bound what is allocated."""
    tracemalloc.start()
    try:
        yield
    except LanguageModelError as error:
        assert file.name in str(error) or str(file.parent) in str(error), str(error)
        assert len(str(error)) < 1000
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MOST_BYTES, f"{peak} bytes"


def use(path: Path) -> None:
    """Open a model and run it as far as its own files allow."""
    checkpoint = open_checkpoint(path)
    graph = LlamaGraph(checkpoint.config, load_weights(checkpoint))
    load_predictors(checkpoint)
    with np.errstate(all="ignore"):
        graph.forward([0], KVPages(graph.config, 1), PageTable())


def use_tokenizer(path: Path) -> None:
    tokenizer = open_tokenizer(path)
    for text in ("Once upon a time", "naïve 😀\n", "<s></s>"):
        tokenizer.decode(tokenizer.encode(text))
        tokenizer.decode(tokenizer.encode(text, parse_special=False))


METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.alignment": 32,
    "llama.context_length": 64,
    "llama.embedding_length": 32,
    "llama.block_count": 1,
    "llama.feed_forward_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.key_length": 8,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.attention.sliding_window": 16,
    "llama.rope.freq_base": 10000.0,
    "llama.rope.dimension_count": 8,
    "llama.rope.scaling.type": "linear",
    "llama.rope.scaling.factor": 2.0,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "t", "h", "e", "▁t", "he", "▁the"],
    "tokenizer.ggml.scores": [0.0] * 8 + [-1.0, -2.0, -3.0],
    "tokenizer.ggml.token_type": [2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": "{{ bos_token }}{{ messages[0].content }}",
}
BYTE_LEVEL = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "llama-bpe",
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "Ċ", "Ġ", "t", "h", "e", "Ġt", "he", "Ġthe"],
    "tokenizer.ggml.merges": ["Ġ t", "h e", "Ġt he"],
}


def dense_tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"token_embd": (11, 32), "output": (11, 32), "output_norm": (32,), "blk.0.attn_norm": (32,)}
    shapes |= {"blk.0.ffn_norm": (32,), "blk.0.attn_q": (32, 32), "blk.0.attn_k": (16, 32), "blk.0.attn_v": (16, 32)}
    shapes |= {"blk.0.attn_output": (32, 32), "blk.0.ffn_gate": (64, 32), "blk.0.ffn_up": (64, 32)}
    shapes |= {"blk.0.ffn_down": (32, 64)}
    return {f"{name}.weight": rng.normal(size=shape) for name, shape in shapes.items()}


def gguf_original(kind: str) -> GgufSpec:
    rng = np.random.default_rng(0)
    metadata, tensors = dict(METADATA), dense_tensors(rng)
    if kind == "byte-level":
        metadata |= BYTE_LEVEL
    if kind == "experts":
        metadata |= {"llama.expert_count": 3, "llama.expert_used_count": 2}
        for name in ("gate", "up", "down"):
            single = tensors.pop(f"blk.0.ffn_{name}.weight")
            tensors[f"blk.0.ffn_{name}_exps.weight"] = np.stack([single] * 3)
        tensors["blk.0.ffn_gate_inp.weight"] = rng.normal(size=(3, 32))
    if kind == "powerinfer":
        tensors["blk.0.ffn_down_t.weight"] = tensors.pop("blk.0.ffn_down.weight").T
        tensors |= {"blk.0.fc1.weight": rng.normal(size=(8, 32)), "blk.0.fc2.weight": rng.normal(size=(64, 8))}
    return gguf_spec(metadata, tensors, powerinfer=kind == "powerinfer")


@pytest.mark.parametrize("kind", ["sentencepiece", "byte-level", "experts", "powerinfer"])
def test_the_honest_gguf_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "honest.gguf"
    path.write_bytes(gguf_original(kind).build())
    use(path)
    use_tokenizer(path)


@FUZZ
@given(data=st.data(), kind=st.sampled_from(["sentencepiece", "byte-level", "experts", "powerinfer"]))
def test_a_lying_gguf_file(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    path = tmp_path / "lying.gguf"
    path.write_bytes(data.draw(changed_gguf(gguf_original(kind))))
    for reader in (use, use_tokenizer):
        with refused_or_read(path):
            reader(path)


def written(directory: Path, config: dict[str, Any], random_tensors: Callable[..., Any], name: str) -> Path:
    """Write a directory with a model of one layer, in Hugging Face's layout for its family."""
    from safetensors.numpy import save_file

    shape = {**config, "num_hidden_layers": 1, **CONFIGS[name]}
    tensors = random_tensors(0, shape)
    mlp = "model.layers.0.mlp."
    parts = {part: tensors.pop(f"{mlp}{part}_proj.weight") for part in ("gate", "up", "down")}
    if name == "mixtral":
        for expert in range(3):
            prefix = f"model.layers.0.block_sparse_moe.experts.{expert}."
            tensors |= {f"{prefix}{w}.weight": parts[p] for w, p in (("w1", "gate"), ("w2", "down"), ("w3", "up"))}
        tensors["model.layers.0.block_sparse_moe.gate.weight"] = parts["gate"][:3]
    elif name == "qwen2_moe":
        half = {"gate": parts["gate"][:32], "up": parts["up"][:32], "down": parts["down"][:, :32].copy()}
        fused = np.concatenate([half["gate"], half["up"]])
        tensors[f"{mlp}experts.gate_up_proj"] = np.stack([fused] * 3)
        tensors[f"{mlp}experts.down_proj"] = np.stack([half["down"]] * 3)
        tensors |= {f"{mlp}shared_expert.{part}_proj.weight": value for part, value in half.items()}
        tensors |= {f"{mlp}gate.weight": parts["gate"][:3], f"{mlp}shared_expert_gate.weight": parts["gate"][:1]}
        tensors |= {f"model.layers.0.self_attn.{p}_proj.bias": np.ones(n, np.float32) for p, n in SIZES}
    elif name == "opt":
        tensors = {_opt_name(key): value for key, value in tensors.items() if "norm" not in key}
        for k in ("k", "v"):
            tensors[f"model.decoder.layers.0.self_attn.{k}_proj.weight"] = np.eye(32, dtype=np.float32)
        prefix = "model.decoder.layers.0."
        tensors |= {f"{prefix}fc1.weight": parts["up"], f"{prefix}fc2.weight": parts["down"]}
        tensors["model.decoder.embed_positions.weight"] = np.ones((66, 32), np.float32)
        vectors = [f"self_attn.{p}_proj.bias" for p in ("q", "k", "v", "out")] + ["fc2.bias"]
        vectors += [f"{norm}.{p}" for norm in ("self_attn_layer_norm", "final_layer_norm") for p in ("weight", "bias")]
        tensors |= {prefix + vector: np.ones(32, np.float32) for vector in vectors}
        tensors[f"{prefix}fc1.bias"] = np.ones(64, np.float32)
        tensors |= {f"model.decoder.final_layer_norm.{p}": np.ones(32, np.float32) for p in ("weight", "bias")}
    else:
        tensors |= {f"{mlp}{part}_proj.weight": value for part, value in parts.items()}
    if name == "qwen2":
        tensors |= {f"model.layers.0.self_attn.{p}_proj.bias": np.ones(n, np.float32) for p, n in SIZES}
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(shape))
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, directory / "model.safetensors")
    return directory


SIZES = (("q", 32), ("k", 16), ("v", 16))


def _opt_name(name: str) -> str:
    return name.replace("model.", "model.decoder.", 1).replace("o_proj", "out_proj")


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest, tmp_path: Path, config: Any, random_tensors: Any) -> Path:
    return written(tmp_path / request.param, config, random_tensors, request.param)


def test_the_honest_directory_is_read(model: Path) -> None:
    use(model)


@FUZZ
@given(data=st.data())
def test_a_lying_config(model: Path, data: st.DataObject) -> None:
    original = json.loads((model / "config.json").read_text())
    lying = _beside(model, "lying")
    (lying / "config.json").write_bytes(to_json(data.draw(changed_json(original))))
    with refused_or_read(lying / "config.json"):
        use(lying)


@FUZZ
@given(data=st.data())
def test_a_lying_safetensors_header(model: Path, data: st.DataObject) -> None:
    content = (model / "model.safetensors").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = to_json(data.draw(changed_json(json.loads(content[8:end]))))
    stated = data.draw(st.sampled_from([len(header)] * 6 + [0, 1, len(header) - 1, len(header) + 1, 2**63, 2**64 - 1]))
    lying = _beside(model, "lying")
    (lying / "model.safetensors").write_bytes(stated.to_bytes(8, "little") + header + content[end:])
    with refused_or_read(lying / "model.safetensors"):
        use(lying)


def _beside(model: Path, name: str) -> Path:
    lying = model.parent / name
    shutil.copytree(model, lying, dirs_exist_ok=True)
    return lying


def byte_level() -> tokenizers.Tokenizer:
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(["the cat sat on the mat, and the cat sat"] * 3, trainer)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return core


def sentencepiece() -> tokenizers.Tokenizer:
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "t", "h", "e", "he", "▁t"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    core = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=[("h", "e"), ("▁", "t")], unk_token="<unk>", byte_fallback=True)
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(["<s>", "</s>"])
    return core


@FUZZ
@given(data=st.data(), kind=st.sampled_from([byte_level, sentencepiece]))
def test_a_lying_tokenizer(tmp_path: Path, data: st.DataObject, kind: Callable[[], tokenizers.Tokenizer]) -> None:
    described = json.loads(kind().to_str())
    (tmp_path / "tokenizer.json").write_bytes(to_json(data.draw(changed_json(described))))
    beside = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ bos_token }}"}
    (tmp_path / "tokenizer_config.json").write_bytes(to_json(data.draw(st.just(beside) | changed_json(beside))))
    ends = {"eos_token_id": [1, 2]}
    (tmp_path / "generation_config.json").write_bytes(to_json(data.draw(st.just(ends) | changed_json(ends))))
    with refused_or_read(tmp_path / "tokenizer.json"):
        use_tokenizer(tmp_path)
