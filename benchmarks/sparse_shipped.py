"""The shipped model at its own sparsity: speed against llama.cpp, and what its predictors cost in perplexity."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quants

from benchmarks.decoding_process import DecodingProcess, EngineEnded
from benchmarks.results_file import Row, not_measured, row
from benchmarks.sparse_engines import PROMPT_TOKENS, SHIPPED, Bench, closing, in_turn, speeds
from benchmarks.synthetic.gguf_files import add_vocabulary, interleaved
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_sparse_inference.settings import DEFAULT_MODEL, MODELS

TOKENS, QUICK_TOKENS = 128, 32
PERPLEXITY_TOKENS, QUICK_PERPLEXITY_TOKENS = 100_000, 4_096
PERPLEXITY_SHARE = 0.005
_MATRICES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def rows(bench: Bench, bundle: Path | None) -> Iterator[Row]:
    """Speed and perplexity; ``bundle`` holds the shipped model with predictors (``fairlead sparse convert``)."""
    if bundle is None:
        why = "no bundle of the shipped model with predictors was given (--shipped-bundle)"
        yield not_measured(DEFAULT_MODEL, "decode and perplexity", "tokens/s", SHIPPED, why)
        return
    try:
        for threads in (1, 2):
            yield from _speed(bench, bundle, threads)
    except EngineEnded as error:
        yield not_measured(DEFAULT_MODEL, "decode", "tokens/s", SHIPPED, f"{bundle.name}: {error}")
    yield _perplexity(bench, bundle)


def _speed(bench: Bench, bundle: Path, threads: int) -> Iterator[Row]:
    stock = bench.files.folder / f"{DEFAULT_MODEL}.gguf"
    if not stock.exists():
        write_stock(MODELS / DEFAULT_MODEL, stock)
    count = QUICK_TOKENS if bench.options.quick else TOKENS
    engines = {mode: bench.ours_of(bundle, mode, threads) for mode in ("exact", "predictor")}
    llama: DecodingProcess | None = bench.llama_of(stock, threads)
    with closing({**engines, "llama.cpp": llama}) as there:
        answers = in_turn(there, bench.options.repeats, lambda repeat: _prompt(repeat, bench), count)
    case = f"{DEFAULT_MODEL}, batch 1, {threads} thread{'s' if threads > 1 else ''}"
    work = answers["exact"][-1].told["work"]
    note = f"{work['active']:.0f} of {work['computed']:.0f} neurons of a token active"
    for mode in engines:
        metric = f"decode, {mode}, against llama.cpp (Q8_0, SiLU in place of dReLU)"
        if llama is None:
            yield not_measured(case, metric, "tokens/s", SHIPPED, "llama-cpp-python is not installed")
        else:
            mine, theirs = speeds(answers[mode]), speeds(answers["llama.cpp"])
            yield row(case, metric, "tokens/s", mine, theirs, better="more", target=3.0, promise=SHIPPED, note=note)
    why = "its sparse kernels take layers of more than 1000 neurons only; no file of its format is written here"
    yield not_measured(case, "decode, against PowerInfer", "tokens/s", SHIPPED, why)


def _perplexity(bench: Bench, bundle: Path) -> Row:
    tokens = QUICK_PERPLEXITY_TOKENS if bench.options.quick else PERPLEXITY_TOKENS
    command = [sys.executable, "-c", "from fairlead_agent.cli.main import main; main()", "sparse", "perplexity"]
    command += [str(bundle), str(bench.text)]
    command += ["--part", "test", "--tokens", str(tokens), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    case, metric = f"{DEFAULT_MODEL}, held-out text", "perplexity, predictor mode against exact mode"
    if done.returncode:
        return not_measured(case, metric, "perplexity", SHIPPED, f"the command failed: {done.stderr[-300:]}")
    modes = _modes(json.loads(done.stdout.splitlines()[-1]))
    if "predictor" not in modes:
        return not_measured(case, metric, "perplexity", SHIPPED, f"{bundle.name} holds no predictors")
    exact, predicted = modes["exact"], modes["predictor"]
    return row(case, metric, "perplexity", [predicted], [exact], limit=exact * (1 + PERPLEXITY_SHARE), promise=SHIPPED)


def _modes(content: dict[str, Any]) -> dict[str, float]:
    return {name: float(found["perplexity"]) for name, found in content["modes"].items()}


def _prompt(repeat: int, bench: Bench) -> list[int]:
    random = np.random.default_rng((bench.options.seed, repeat))
    return random.integers(300, 4000, PROMPT_TOKENS).tolist()


def write_stock(model: Path, path: Path) -> None:
    """The shipped model's weights as a Q8_0 GGUF of the architecture ``llama``; its tokens have made-up texts."""
    checkpoint = open_checkpoint(model)
    config, writer = checkpoint.config, GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocab_size)
    add_vocabulary(writer, config.vocab_size)

    def matrix(name: str, stored: str, heads: int = 0) -> None:
        weights = checkpoint.array(stored, checkpoint.shape(stored))
        blocks = quants.quantize(np.ascontiguousarray(weights), GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, interleaved(blocks, heads) if heads else blocks, raw_dtype=GGMLQuantizationType.Q8_0)

    def vector(name: str, stored: str) -> None:
        writer.add_tensor(name, checkpoint.array(stored, checkpoint.shape(stored)).astype(np.float32))

    matrix("token_embd.weight", "model.embed_tokens.weight")
    vector("output_norm.weight", "model.norm.weight")
    turned = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for index in range(config.num_hidden_layers):
        vector(f"blk.{index}.attn_norm.weight", f"model.layers.{index}.input_layernorm.weight")
        vector(f"blk.{index}.ffn_norm.weight", f"model.layers.{index}.post_attention_layernorm.weight")
        for name, stored in _MATRICES.items():
            matrix(f"blk.{index}.{name}.weight", f"model.layers.{index}.{stored}.weight", turned.get(name, 0))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
