"""Writes a trained model as a checkpoint in the Hugging Face layout, matrices in Q8_0 pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from fairlead_kernels import Q8Matrix, quantize_q8

from ..engine.model import transposed_q8
from .batches import windows
from .card import Scores, model_card
from .evaluate import Score, evaluate
from .loop import load_model
from .model import LlamaDrelu
from .prepare import Prepared, read_prepared
from .shape import ModelShape
from .tokenizer import ASSISTANT, BEGIN, END_OF_TEXT, END_OF_TURN, USER, with_begin

#: The books know only two who take turns: a system message goes in front of the first user's turn.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% set lead = namespace(text='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set lead.text = lead.text + message['content'] + '\n\n' %}"
    "{% elif message['role'] == 'assistant' %}{{ '" + ASSISTANT + "' + message['content'] + '" + END_OF_TURN + "' }}"
    "{% else %}{{ '" + USER + "' + lead.text + message['content'] + '" + END_OF_TURN + "' }}"
    "{% set lead.text = '' %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ASSISTANT + "' }}{% endif %}"
)


def export(directory: Path, target: Path, with_test: bool) -> Scores:
    """Quantize the best checkpoint of a run, write it to `target`, and score what was written.

    Returns:
        Scores by name: the trained weights and the quantized ones on the validation text, and with `with_test` the
        quantized ones on the test text.
    """
    prepared = read_prepared(directory)
    model, state = load_model(directory / "best.pt")
    target.mkdir(parents=True, exist_ok=True)
    write_weights(model, target / "model.safetensors")
    written = config(model.shape, prepared.tokenizer)
    _write_json(target / "config.json", written)
    _write_json(target / "tokenizer_config.json", tokenizer_config(model.shape))
    with_begin(prepared.tokenizer).save(str(target / "tokenizer.json"))
    scores = _scores(model, load_exported(target), prepared, with_test)
    _write_json(target / "config.json", with_sparsity(written, scores["validation, Q8_0"]))
    lines = (directory / "log.jsonl").read_text().splitlines()
    log = [json.loads(line) for line in lines]
    (target / "MODEL_CARD.md").write_text(model_card(model.shape, prepared.facts, state, log, scores))
    return scores


def _scores(model: LlamaDrelu, quantized: LlamaDrelu, prepared: Prepared, with_test: bool) -> Scores:
    validation = windows(prepared.validation, model.shape.context)
    scores = {"validation, trained": evaluate(model, validation), "validation, Q8_0": evaluate(quantized, validation)}
    if with_test:
        scores["test, Q8_0"] = evaluate(quantized, windows(prepared.test, model.shape.context))
    return scores


def write_weights(model: LlamaDrelu, path: Path) -> None:
    """Write each matrix NAME as NAME.q8 (int8) and NAME.scale (float16 by groups of 32), each norm as float32."""
    tensors: dict[str, np.ndarray] = {}
    for name, value in model.state_dict().items():
        array = value.float().numpy()
        if array.ndim == 2:
            matrix = quantize_q8(np.ascontiguousarray(array))
            tensors |= {f"{name}.q8": matrix.q, f"{name}.scale": matrix.scale}
        else:
            tensors[name] = array
    save_file(tensors, path, metadata={"format": "np", "quantization": "q8_0 groups of 32 along columns"})


def load_exported(directory: Path) -> LlamaDrelu:
    """Read an exported checkpoint back into the PyTorch model, with the values that the engine multiplies by."""
    written = json.loads((directory / "config.json").read_text())
    tensors = load_file(directory / "model.safetensors")
    model = LlamaDrelu(shape_of(written))
    state = {name: torch.from_numpy(value) for name, value in tensors.items() if not name.endswith((".q8", ".scale"))}
    for name in (name.removesuffix(".q8") for name in tensors if name.endswith(".q8")):
        matrix = Q8Matrix(tensors[f"{name}.q8"], tensors[f"{name}.scale"])
        dense = transposed_q8(matrix).dequantize().T if name.endswith("down_proj.weight") else matrix.dequantize()
        state[name] = torch.from_numpy(np.ascontiguousarray(dense))
    model.load_state_dict(state)
    return model.eval()


def config(shape: ModelShape, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the model's config.json, in the field names of Hugging Face's LlamaConfig."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.neurons,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_theta,
        "hidden_act": "relu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.token_to_id(BEGIN),
        "eos_token_id": [tokenizer.token_to_id(END_OF_TEXT), tokenizer.token_to_id(END_OF_TURN)],
        "fairlead": {"ffn": "drelu"},
    }


def with_sparsity(written: dict[str, Any], score: Score) -> dict[str, Any]:
    """Return the config with the measured share of zeros by layer, from which the engine's cost is predicted."""
    zeros = {"gate_sparsity": score.gate_sparsity, "product_sparsity": score.product_sparsity}
    rounded = {name: [round(share, 4) for share in shares] for name, shares in zeros.items()}
    return {**written, "fairlead": {**written["fairlead"], **rounded}}


def shape_of(written: dict[str, Any]) -> ModelShape:
    """Return the shape that a config.json written by `config` describes."""
    return ModelShape(
        vocabulary=written["vocab_size"],
        width=written["hidden_size"],
        layers=written["num_hidden_layers"],
        heads=written["num_attention_heads"],
        kv_heads=written["num_key_value_heads"],
        neurons=written["intermediate_size"],
        context=written["max_position_embeddings"],
        rope_theta=written["rope_theta"],
        norm_epsilon=written["rms_norm_eps"],
    )


def tokenizer_config(shape: ModelShape) -> dict[str, Any]:
    """Return the tokenizer_config.json: special tokens and the chat template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END_OF_TEXT,
        "additional_special_tokens": [USER, ASSISTANT, END_OF_TURN],
        "add_bos_token": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.context,
        "chat_template": CHAT_TEMPLATE,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
