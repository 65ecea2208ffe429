"""Families beyond Llama: files in every layout that they come in give the logits of Hugging Face's models."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind
from safetensors.numpy import load_file, save_file

from fairlead_kernels import Decoder, DecoderWeights, PackedMatrix, Q8Matrix
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.errors import CheckpointError, ConfigError
from fairlead_language_model.graph import (
    KVPages,
    LlamaGraph,
    LlamaWeights,
    PageTable,
    build_decoder,
    load_predictors,
    load_weights,
    packed_weights,
)
from fairlead_language_model.graph.feed_forward import route
from fairlead_language_model.graph.q8_decoder import decoder_config, decoder_weights
from fairlead_language_model.graph.weights import ExpertWeights
from fairlead_language_model.hf_config import parse_hf_config, read_hf_config, write_hf_config
from fairlead_language_model.quantize import write_q8_checkpoint

SHAPE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "OPT": {"ffn_dim": 64},
    "Mixtral": {"num_local_experts": 4},
    "Qwen2Moe": MOE | {"shared_expert_intermediate_size": 64},
    "Qwen3Moe": MOE | {"head_dim": 8, "norm_topk_prob": True},
}
TOKENS = [3, 14, 15, 92, 65, 35, 89, 79, 32, 38, 46, 26]


class Reference:
    """A random model of transformers, its directory, and its logits."""

    def __init__(self, family: str, directory: Path, **extra: Any) -> None:
        torch = pytest.importorskip("torch", reason="torch makes the reference logits")
        transformers = pytest.importorskip("transformers", reason="transformers holds the reference models")
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(**SHAPE | FAMILIES[family] | extra)
        model = getattr(transformers, f"{family}ForCausalLM")(config).float().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.3)
            self.logits = model(torch.tensor([TOKENS])).logits[0].numpy()
        model.save_pretrained(directory)
        self.directory, self.state = directory, {k: v.numpy() for k, v in model.state_dict().items()}

    def rewrite(self, tensors: dict[str, np.ndarray]) -> None:
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, self.file)

    @property
    def file(self) -> Path:
        return self.directory / "model.safetensors"


def logits(path: Path) -> np.ndarray:
    graph = LlamaGraph.load(path)
    return graph.forward(TOKENS, graph.pages(16), PageTable())


def agree(path: Path, reference: Reference, tolerance: float = 2e-4) -> None:
    np.testing.assert_allclose(logits(path), reference.logits, atol=tolerance, rtol=1e-4)


def test_opt_as_it_was_first_published(tmp_path: Path) -> None:
    reference = Reference("OPT", tmp_path)
    stored = load_file(reference.file)
    reference.rewrite({name.removeprefix("model."): value for name, value in stored.items()})
    agree(tmp_path, reference)


@pytest.mark.parametrize("family", ["Mixtral", "Qwen2Moe", "Qwen3Moe"])
def test_experts_stored_one_by_one_and_fused_are_the_same_model(tmp_path: Path, family: str) -> None:
    reference = Reference(family, tmp_path)
    stored = load_file(reference.file)
    single = [name for name in stored if re.search(r"experts\.\d+\.", name)]
    assert single, "transformers writes experts one by one"
    agree(tmp_path, reference)
    reference.rewrite(reference.state)
    assert any(name.endswith("experts.gate_up_proj") for name in load_file(reference.file))
    agree(tmp_path, reference)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_written_config_reads_back_the_same(tmp_path: Path, family: str) -> None:
    extra: dict[str, Any] = {"mlp_only_layers": [0]} if family.startswith("Qwen") else {}
    config = read_hf_config(Reference(family, tmp_path, **extra).directory / "config.json")
    write_hf_config(config, tmp_path / "again.json")
    assert read_hf_config(tmp_path / "again.json") == config


@pytest.mark.parametrize("family", FAMILIES)
def test_a_q8_directory_is_near_and_smaller(tmp_path: Path, family: str) -> None:
    reference = Reference(family, tmp_path / "float")
    source = open_checkpoint(tmp_path / "float")
    write_q8_checkpoint(source, tmp_path / "q8")
    stored = open_checkpoint(tmp_path / "q8")
    assert stored.config == source.config
    assert load_weights(stored).nbytes < 0.7 * load_weights(source).nbytes
    spread = np.abs(reference.logits).max()
    assert np.abs(logits(tmp_path / "q8") - reference.logits).max() < 0.15 * spread


SPARSE = {name: value for name, value in FAMILIES.items() if name != "OPT"}


def kernel_logits(config: ModelConfig, weights: DecoderWeights) -> np.ndarray:
    """The logits of all tokens by the kernels' decoder."""
    pages, table = KVPages(config, 4), PageTable()
    pages.reserve(table, len(TOKENS))
    decoder = Decoder(decoder_config(config), weights, pages.keys, pages.values)
    return decoder.prefill(np.array(TOKENS, np.int32), 0, table.array(), all_logits=True).logits


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The root mean square of the difference, of the spread of b."""
    return float(np.sqrt(np.mean((a - b) ** 2)) / np.ptp(b))


def rounded(weights: DecoderWeights, source: LlamaWeights) -> LlamaWeights:
    """The NumPy graph's weights with the values to which the kernels' ones were rounded."""

    def network(part: Any) -> dict[str, Any]:
        down = np.ascontiguousarray(part.down_t.dequantize().T)
        return {"gate": part.gate.dequantize(), "up": part.up.dequantize(), "down": down}

    layers = []
    for theirs, ours in zip(source.layers, weights.layers, strict=True):
        names = {"q": "query", "k": "key", "v": "value", "o": "output"}
        values = {name: getattr(ours, other).dequantize() for name, other in names.items()}
        if theirs.mixture is None or ours.mixture is None:
            layers.append(replace(theirs, **values, **network(ours)))
            continue
        shared = None if ours.mixture.shared is None else ExpertWeights(**network(ours.mixture.shared))
        experts = tuple(ExpertWeights(**network(expert)) for expert in ours.mixture.experts)
        layers.append(replace(theirs, **values, mixture=replace(theirs.mixture, experts=experts, shared=shared)))
    embedding = weights.embedding.dequantize()
    head = embedding if weights.head is None else weights.head.dequantize()
    return replace(source, embedding=embedding, layers=tuple(layers), head=head)


@pytest.mark.parametrize("bits", [None, 8, 4])
@pytest.mark.parametrize("dense", [(), (0,)], ids=["all", "partly"])
@pytest.mark.parametrize("family", SPARSE)
def test_the_kernels_decode_experts(tmp_path: Path, family: str, dense: tuple[int, ...], bits: int | None) -> None:
    if dense and family == "Mixtral":
        pytest.skip("all layers of Mixtral have experts")
    extra: dict[str, Any] = {"mlp_only_layers": list(dense)} if dense else {}
    reference = Reference(family, tmp_path, **extra)
    checkpoint = open_checkpoint(tmp_path)
    config, source = checkpoint.config, load_weights(checkpoint)
    weights = decoder_weights(config, source) if bits is None else packed_weights(checkpoint, bits)
    assert [layer.mixture is not None for layer in weights.layers] == [layer not in dense for layer in range(2)]
    ours = kernel_logits(config, weights)
    graph = LlamaGraph(config, rounded(weights, source))
    # Q8 weights are multiplied by floats, packed ones by activations rounded to eight bits.
    assert distance(ours, graph.forward(TOKENS, graph.pages(16), PageTable())) < (1e-5 if bits is None else 0.03)
    assert distance(ours, reference.logits) < (0.15 if bits == 4 else 0.02)


@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0, Kind.Q4_0])
@pytest.mark.parametrize("family", SPARSE)
def test_experts_of_gguf_files_are_decoded_with_the_weights_of_the_file(
    tmp_path: Path, family: str, kind: Kind
) -> None:
    reference, arch = Reference(family, tmp_path / "hf"), GGUF_ARCHITECTURES[family]
    config = read_hf_config(tmp_path / "hf" / "config.json")
    path = write_gguf(tmp_path / "m.gguf", gguf_tensors(reference.state, config, arch), config, arch, kind)
    checkpoint = open_checkpoint(path)
    packed, source = packed_weights(checkpoint), load_weights(checkpoint)
    mixture, stored = packed.layers[1].mixture, source.layers[1].mixture
    assert mixture is not None and stored is not None
    for ours, theirs in zip(mixture.experts, stored.experts, strict=True):
        up = theirs.up.dequantize() if isinstance(theirs.up, Q8Matrix) else theirs.up
        assert isinstance(ours.up, PackedMatrix) and ours.up.bits == (4 if kind == Kind.Q4_0 else 8)
        if kind != Kind.F32:
            np.testing.assert_array_equal(ours.up.dequantize(), up)
    graph = LlamaGraph(checkpoint.config, rounded(packed, source))
    expected = graph.forward(TOKENS, graph.pages(16), PageTable())
    assert distance(kernel_logits(checkpoint.config, packed), expected) < 0.03


SMALLTHINKER: dict[str, Any] = {
    **{name: value for name, value in SHAPE.items() if name != "intermediate_size"},
    "architectures": ["SmallThinkerForCausalLM"],
    "head_dim": 8,
    "moe_num_primary_experts": 4,
    "moe_num_active_primary_experts": 2,
    "moe_ffn_hidden_size": 64,
    "moe_primary_router_apply_softmax": True,
    "rope_layout": [1, 1],
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e6,
}


def early_mixtral(directory: Path) -> np.ndarray:
    """Write a SmallThinker whose reference is Mixtral with routers that are given the state before the attention."""
    torch = pytest.importorskip("torch", reason="torch makes the reference logits")
    transformers = pytest.importorskip("transformers", reason="transformers holds the reference models")
    torch.manual_seed(0)
    extra = {"num_local_experts": 4, "hidden_act": "relu", "head_dim": 8, "rope_theta": 1e6}
    model = transformers.MixtralForCausalLM(transformers.MixtralConfig(**SHAPE | extra)).float().eval()
    for layer in model.model.layers:
        seen: list[Any] = []

        def remember(_: Any, given: tuple[Any, ...], seen: list[Any] = seen) -> None:
            seen[:] = [given[0].reshape(-1, given[0].shape[-1])]

        def replaced(_: Any, __: tuple[Any, ...], seen: list[Any] = seen) -> tuple[Any, ...]:
            return tuple(seen)

        layer.register_forward_pre_hook(remember)
        layer.mlp.gate.register_forward_pre_hook(replaced)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.3)
        logits = model(torch.tensor([TOKENS])).logits[0].numpy()
    model.save_pretrained(directory)
    stored = load_file(directory / "model.safetensors")
    names = {"gate.weight": "primary_router.weight", "w1.": "gate.", "w3.": "up.", "w2.": "down."}
    tensors: dict[str, np.ndarray] = {}
    for name, value in stored.items():
        for old, new in names.items():
            name = name.replace(old, new) if "block_sparse_moe" in name else name
        tensors[name] = value
    save_file(tensors, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(SMALLTHINKER))
    return logits


def test_a_router_before_the_attention(tmp_path: Path) -> None:
    expected = early_mixtral(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config.experts is not None and checkpoint.config.experts.router_before_attention
    np.testing.assert_allclose(logits(tmp_path), expected, atol=2e-4, rtol=1e-4)
    assert distance(kernel_logits(checkpoint.config, packed_weights(checkpoint, 8)), expected) < 0.02
    write_hf_config(checkpoint.config, tmp_path / "again.json")
    assert read_hf_config(tmp_path / "again.json") == checkpoint.config


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rope_layout": [0, 1]}, r"rope_layout = \[0, 1\]: accepted: 1 for every layer"),
        ({"rope_layout": "all"}, "rope_layout = 'all': accepted: a list of 0 and 1"),
        ({"moe_enable_secondary_experts": True}, "moe_enable_secondary_experts = True: accepted: false"),
        ({"moe_ffn_hidden_size": None}, "moe_ffn_hidden_size"),
        ({"moe_num_active_primary_experts": 5}, "num_experts_per_tok must be at most num_experts 4"),
    ],
)
def test_what_is_not_known_of_smallthinker_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_hf_config(SMALLTHINKER | change, "config.json")


def test_smallthinker_slides_where_it_says(tmp_path: Path) -> None:
    config = parse_hf_config(SMALLTHINKER | {"sliding_window_layout": [0, 1], "sliding_window_size": 16}, "config.json")
    assert config.sliding_layers == (False, True) and config.sliding_window == 16
    write_hf_config(config, tmp_path / "config.json")
    assert read_hf_config(tmp_path / "config.json") == config


DECODED: dict[str, dict[str, Any]] = {
    "opt": {},
    "opt-norm-last": {"do_layer_norm_before": False},
    "opt-no-final-norm": {"_remove_final_layer_norm": True},
    "opt-no-bias-untied": {"enable_bias": False, "tie_word_embeddings": False},
}


@pytest.mark.parametrize("name", DECODED)
def test_the_kernels_decode_opt(tmp_path: Path, name: str) -> None:
    Reference("OPT", tmp_path / "float", **DECODED[name])
    write_q8_checkpoint(open_checkpoint(tmp_path / "float"), tmp_path / "q8")
    graph = LlamaGraph.load(tmp_path / "q8")
    pages, ours, theirs = graph.pages(64, page_size=4), PageTable(), PageTable()
    decoder = build_decoder(graph.config, graph.weights, pages)
    expected = graph.forward(TOKENS, pages, ours)
    pages.reserve(theirs, len(TOKENS))
    prompt = decoder.prefill(np.array(TOKENS[:5], np.int32), 0, theirs.array(), all_logits=True).logits
    steps = [decoder.step(TOKENS[i], i, theirs.array()).logits for i in range(5, len(TOKENS))]
    found = np.concatenate([prompt, np.stack(steps)])
    np.testing.assert_allclose(found, expected, atol=3e-4 * np.abs(expected).max(), rtol=1e-4)


def test_the_kernels_decode_a_shifted_relu(
    tmp_path: Path, config: dict[str, Any], random_tensors: Any, write_model: Any
) -> None:
    config |= {"architectures": ["SparseLlamaForCausalLM"], "hidden_act": "fatrelu", "hidden_act_param": 0.5}
    write_q8_checkpoint(open_checkpoint(write_model(tmp_path / "float", random_tensors(0), config)), tmp_path / "q8")
    graph = LlamaGraph.load(tmp_path / "q8")
    pages, table = graph.pages(32), PageTable()
    decoder = build_decoder(graph.config, graph.weights, pages)
    seen: list[int] = []
    expected = graph.forward(TOKENS, pages, PageTable(), lambda _, active: seen.append(int((active != 0).sum())))
    pages.reserve(table, len(TOKENS))
    result = decoder.prefill(np.array(TOKENS, np.int32), 0, table.array(), all_logits=True)
    np.testing.assert_allclose(result.logits, expected, atol=3e-4 * np.abs(expected).max(), rtol=1e-4)
    np.testing.assert_allclose(result.active, seen, atol=2)


GGUF_NAMES = {
    "embed_tokens": "token_embd",
    "embed_positions": "position_embd",
    "lm_head": "output",
    "decoder.final_layer_norm": "output_norm",
    "norm": "output_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.out_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "self_attn_layer_norm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "final_layer_norm": "ffn_norm",
    "fc1": "ffn_up",
    "fc2": "ffn_down",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
}


def gguf_tensors(state: dict[str, np.ndarray], config: ModelConfig, arch: str) -> dict[str, np.ndarray]:
    """Name and lay out a model's tensors as llama.cpp's converter does (PowerInfer's for OPT)."""
    tensors: dict[str, np.ndarray] = {}
    for name, value in state.items():
        stem, _, suffix = name.rpartition(".")
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        match = re.fullmatch(r"model\.(?:decoder\.)?layers\.(\d+)\.(.*)", stem)
        prefix, inner = (f"blk.{match[1]}.", match[2]) if match else ("", re.sub(r"^model\.(?=\w+$)", "", stem))
        inner = re.sub(r"^(model\.)?decoder\.(?!final)|^model\.", "", inner)
        if inner == "mlp.experts":
            if suffix == "gate_up_proj":
                gate, up = np.split(value, 2, axis=1)
                tensors |= {f"{prefix}ffn_gate_exps.weight": gate, f"{prefix}ffn_up_exps.weight": up}
            else:
                tensors[f"{prefix}ffn_down_exps.weight"] = value
            continue
        if arch == "llama" and inner in ("self_attn.q_proj", "self_attn.k_proj"):
            heads = config.num_attention_heads if inner[10] == "q" else config.num_key_value_heads
            value = value.reshape(heads, 2, value.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(value.shape)
        tensors[f"{prefix}{GGUF_NAMES[inner]}.{suffix}"] = value.reshape(-1) if value.shape[0] == 1 else value
    return tensors


def write_gguf(
    path: Path, tensors: dict[str, np.ndarray], config: ModelConfig, arch: str, kind: Kind = Kind.F32, **more: float
) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    if config.experts is not None:
        writer.add_expert_count(config.experts.num_experts)
        writer.add_expert_used_count(config.experts.num_experts_per_tok)
        if arch != "llama":
            writer.add_expert_feed_forward_length(config.experts.moe_intermediate_size)
    for key, value in more.items():
        writer.add_float32(key.replace("__", "."), value)
    for name, value in tensors.items():
        if value.ndim == 1 or "position" in name or "gate_inp" in name:
            writer.add_tensor(name, np.ascontiguousarray(value))
        else:
            writer.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(value), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


GGUF_ARCHITECTURES = {"OPT": "opt", "Mixtral": "llama", "Qwen2Moe": "qwen2moe", "Qwen3Moe": "qwen3moe"}


@pytest.mark.parametrize("family", FAMILIES)
def test_gguf_gives_the_reference_logits(tmp_path: Path, family: str) -> None:
    reference, arch = Reference(family, tmp_path / "hf"), GGUF_ARCHITECTURES[family]
    config = read_hf_config(tmp_path / "hf" / "config.json")
    tensors = gguf_tensors(reference.state, config, arch)
    agree(write_gguf(tmp_path / "m.gguf", tensors, config, arch), reference)
    experts = [name for name in tensors if "_exps" in name]
    if not experts:
        return
    for name in experts:
        stack = tensors.pop(name)
        tensors |= {name.replace("_exps", f".{i}"): expert for i, expert in enumerate(stack)}
    agree(write_gguf(tmp_path / "old.gguf", tensors, config, arch), reference)


def test_the_experts_of_a_q8_stack_keep_their_groups(tmp_path: Path) -> None:
    reference = Reference("Mixtral", tmp_path / "hf")
    config = read_hf_config(tmp_path / "hf" / "config.json")
    tensors = gguf_tensors(reference.state, config, "llama")
    path = write_gguf(tmp_path / "m.gguf", tensors, config, "llama", Kind.Q8_0)
    stack = tensors["blk.1.ffn_up_exps.weight"]
    expected = gguf.quants.dequantize(gguf.quants.quantize(stack, Kind.Q8_0), Kind.Q8_0)
    mixture = load_weights(open_checkpoint(path)).layers[1].mixture
    assert mixture is not None
    for expert, values in zip(mixture.experts, expected, strict=True):
        np.testing.assert_array_equal(expert.up.dequantize(), values)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("arch", "ffn"), [("llama", "gated"), ("bamboo", "drelu"), ("opt", "plain")])
def test_a_powerinfer_file_is_its_model_with_relus(tmp_path: Path, arch: str, ffn: str) -> None:
    pytest.importorskip("transformers")
    family = "OPT" if arch == "opt" else "Mixtral"
    extra = {} if arch == "opt" else {"num_local_experts": 1, "num_experts_per_tok": 1, "hidden_act": "relu"}
    reference = Reference(family, tmp_path / "hf", **extra)
    config = read_hf_config(tmp_path / "hf" / "config.json")
    tensors = gguf_tensors(reference.state, config, "opt" if arch == "opt" else "llama")
    rng = np.random.default_rng(0)
    for layer in range(2):
        prefix = f"blk.{layer}."
        tensors.pop(prefix + "ffn_gate_inp.weight", None)
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            stack = tensors.pop(f"{prefix}{name}_exps.weight", None)
            if stack is not None:
                tensors[f"{prefix}{name}.weight"] = stack[0]
        tensors[prefix + "ffn_down_t.weight"] = tensors.pop(prefix + "ffn_down.weight").T
        if arch == "opt":
            tensors[prefix + "ffn_down_t.bias"] = tensors.pop(prefix + "ffn_down.bias")
        tensors[prefix + "fc1.weight"] = rng.normal(size=(24, 32)).astype(np.float32)
        tensors[prefix + "fc2.weight"] = rng.normal(size=(64, 24)).astype(np.float32)
    plain = config.model_copy(update={"experts": None})
    path = write_gguf(tmp_path / "m.powerinfer.gguf", tensors, plain, arch, powerinfer__sparse_threshold=0.25)
    path.write_bytes(b"PWRI" + path.read_bytes()[4:])
    read = open_checkpoint(path)
    assert (read.config.ffn, read.config.hidden_act) == (ffn, "relu")
    if arch == "bamboo":
        relu = LlamaGraph(read.config.model_copy(update={"ffn": "gated"}), load_weights(read))
        found = relu.forward(TOKENS, relu.pages(16), PageTable())
        np.testing.assert_allclose(found, reference.logits, atol=2e-4, rtol=1e-4)
    else:
        agree(path, reference)
    predictors, state = load_predictors(read), rng.normal(size=(3, 32)).astype(np.float32)
    assert predictors is not None and len(predictors) == 2
    scores = np.maximum(state @ tensors["blk.1.fc1.weight"].T, 0) @ tensors["blk.1.fc2.weight"].T
    np.testing.assert_array_equal(predictors[1].predicted(state), scores >= 0.25)
    del tensors["blk.1.fc1.weight"]
    torn = write_gguf(tmp_path / "torn.gguf", tensors, plain, arch, powerinfer__sparse_threshold=0.25)
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.predictor\.fc1\.weight: has shape"):
        load_predictors(open_checkpoint(torn))


def test_a_model_without_predictors_has_none(tiny_model: Path) -> None:
    assert load_predictors(open_checkpoint(tiny_model)) is None


def test_the_router_takes_the_largest_and_rescales() -> None:
    from fairlead_language_model.experts import Experts

    x = np.log(np.array([[1, 4, 2, 3], [1, 1, 1, 1]], np.float32))
    kept = Experts(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=1, norm_topk_prob=False)
    chosen, weights = route(kept, x)
    np.testing.assert_array_equal(chosen, [[1, 3], [0, 1]])
    np.testing.assert_allclose(weights, [[0.4, 0.3], [0.25, 0.25]], rtol=1e-6)
    _, weights = route(kept.model_copy(update={"norm_topk_prob": True}), x)
    np.testing.assert_allclose(weights, [[4 / 7, 3 / 7], [0.5, 0.5]], rtol=1e-6)


def test_observer_sees_which_experts_a_token_used(tmp_path: Path) -> None:
    Reference("Qwen2Moe", tmp_path)
    graph, seen = LlamaGraph.load(tmp_path), []
    graph.forward(TOKENS, graph.pages(16), PageTable(), lambda _, active: seen.append(active))
    experts = graph.config.experts
    assert experts is not None and seen[0].shape == (len(TOKENS), graph.config.neurons(0)) == (len(TOKENS), 4 * 32 + 64)
    used = seen[0][:, : 4 * 32].reshape(len(TOKENS), 4, 32).any(axis=2)
    np.testing.assert_array_equal(used.sum(axis=1), 2)


RELATIVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bamboo": ({"architectures": ["BambooForCausalLM"], "hidden_act": "relu"}, {"ffn": "drelu", "hidden_act": "relu"}),
    "turbosparse": (
        {
            "architectures": ["TurboSparseMixtralForCausalLM"],
            "hidden_act": "relu",
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        },
        {"architecture": "mixtral", "ffn": "drelu"},
    ),
    "relu-llama": ({"hidden_act": "relu"}, {"ffn": "gated", "hidden_act": "relu", "relu_threshold": 0.0}),
    "prosparse": (
        {"architectures": ["SparseLlamaForCausalLM"], "hidden_act": "fatrelu", "hidden_act_param": 0.01},
        {"architecture": "llama", "hidden_act": "relu", "relu_threshold": 0.01},
    ),
}


@pytest.mark.parametrize("name", RELATIVES)
def test_sparse_relatives_are_read_by_their_own_names(tmp_path: Path, config: dict[str, Any], name: str) -> None:
    change, expected = RELATIVES[name]
    parsed = parse_hf_config({**config, **change}, "config.json")
    assert {key: getattr(parsed, key) for key in expected} == expected
    write_hf_config(parsed, tmp_path / "config.json")
    assert read_hf_config(tmp_path / "config.json") == parsed


def test_fatrelu_drops_what_is_below_its_threshold(tiny_model: Path) -> None:
    graph = LlamaGraph.load(tiny_model)
    relu = graph.config.model_copy(update={"hidden_act": "relu"})
    shifted = relu.model_copy(update={"relu_threshold": 0.5})
    x = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    gate = x @ np.asarray(graph.weights.layers[0].gate).T
    ours = LlamaGraph(shifted, graph.weights).activations(0, x)
    theirs = LlamaGraph(relu, graph.weights).activations(0, x)
    np.testing.assert_array_equal(ours, np.where(gate > 0.5, theirs, 0))
    assert ((gate > 0) & (gate <= 0.5)).any()


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "sparse llama that is none": (
        {"architectures": ["SparseLlamaForCausalLM"], "hidden_act": "silu"},
        "hidden_act = 'silu'",
        "relu or fatrelu",
    ),
    "threshold": ({"hidden_act": "fatrelu", "hidden_act_param": -1}, "hidden_act_param = -1", "a number from 0 on"),
    "two thresholds": (
        {"architectures": ["BambooForCausalLM"], "hidden_act": "fatrelu", "hidden_act_param": 0.5},
        "hidden_act_param = 0.5",
        "0 where both",
    ),
    "opt without width": ({"architectures": ["OPTForCausalLM"]}, "ffn_dim", "missing"),
    "opt activation": (
        {"architectures": ["OPTForCausalLM"], "ffn_dim": 8, "activation_function": []},
        "activation_function = []",
        "gelu, relu",
    ),
    "opt affine": (
        {"architectures": ["OPTForCausalLM"], "layer_norm_elementwise_affine": False, "ffn_dim": 8},
        "layer_norm_elementwise_affine = False",
        "true",
    ),
    "no experts": ({"architectures": ["MixtralForCausalLM"]}, "num_local_experts", "missing"),
    "too many chosen": (
        {"architectures": ["MixtralForCausalLM"], "num_local_experts": 2, "num_experts_per_tok": 3},
        "experts",
        "at most num_experts 2",
    ),
    "endless experts": (
        {"architectures": ["MixtralForCausalLM"], "num_local_experts": 10**9, "num_experts_per_tok": 3},
        "num_experts = 1000000000",
        "less than or equal to 4096",
    ),
    "step": (
        {"architectures": ["Qwen3MoeForCausalLM"], **MOE, "decoder_sparse_step": 0},
        "decoder_sparse_step = 0",
        "a positive integer",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_field_is_named(config: dict[str, Any], name: str) -> None:
    change, field, accepted = BROKEN[name]
    with pytest.raises(ConfigError) as caught:
        parse_hf_config({**config, **change}, "config.json")
    assert field in str(caught.value) and accepted in str(caught.value).split("accepted:")[1]


def test_a_missing_expert_and_a_torn_stack_are_named(tmp_path: Path) -> None:
    reference = Reference("Mixtral", tmp_path)
    stored = load_file(reference.file)
    lost = next(name for name in stored if "layers.1" in name and "experts.2" in name)
    reference.rewrite({name: value for name, value in stored.items() if name != lost})
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.experts\.2\.\w+_proj\.weight: is missing"):
        load_weights(open_checkpoint(tmp_path))
    name = "model.layers.0.mlp.experts.gate_up_proj"
    reference.rewrite(reference.state | {name: reference.state[name][:, :-1]})
    with pytest.raises(CheckpointError, match=r"experts\.0\.gate_proj\.weight: is missing"):
        load_weights(open_checkpoint(tmp_path))


def test_a_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    reference = Reference("OPT", tmp_path)
    stored = load_file(reference.file)
    reference.rewrite(stored | {"decoder.layers.0.fc1.weight": stored["model.decoder.layers.0.fc1.weight"]})
    with pytest.raises(CheckpointError, match=r"mlp\.up_proj\.weight: is stored twice"):
        open_checkpoint(tmp_path)
