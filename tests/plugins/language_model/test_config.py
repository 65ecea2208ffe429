"""Configurations: every layout that files come in, and one clear error for what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_language_model.errors import CheckpointError, ConfigError, LanguageModelError
from fairlead_language_model.hf_config import parse_hf_config, read_hf_config, write_hf_config

LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_defaults_that_the_file_leaves_out(config: dict[str, Any]) -> None:
    del config["num_key_value_heads"], config["rms_norm_eps"], config["rope_theta"]
    parsed = parse_hf_config(config, "config.json")
    assert (parsed.head_dim, parsed.num_key_value_heads, parsed.rope_theta) == (8, 4, 10000.0)
    assert (parsed.bos_token_id, parsed.eos_token_ids) == (1, (2,))


def test_old_and_new_rope_layouts_mean_the_same(config: dict[str, Any]) -> None:
    old = {**config, "rope_theta": 5e5, "rope_scaling": {**LLAMA3, "rope_type": "llama3"}}
    older = {**config, "rope_theta": 5e5, "rope_scaling": {**LLAMA3, "type": "llama3"}}
    new = {**config, "rope_parameters": {**LLAMA3, "rope_type": "llama3", "rope_theta": 5e5}}
    del new["rope_theta"]
    first = parse_hf_config(old, "a")
    assert first.rope_scaling is not None and first.rope_scaling.factor == 8
    assert first == parse_hf_config(older, "b") == parse_hf_config(new, "c")


def test_drelu_is_read_from_our_own_field(config: dict[str, Any]) -> None:
    config |= {"hidden_act": "relu", "fairlead": {"ffn": "drelu"}}
    assert parse_hf_config(config, "config.json").activation == "drelu"


def test_qwen2_slides_only_where_it_is_told_to(config: dict[str, Any]) -> None:
    config |= {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 8, "max_window_layers": 1}
    assert parse_hf_config(config, "c").window(1) is None
    config["use_sliding_window"] = True
    parsed = parse_hf_config(config, "c")
    assert (parsed.window(0), parsed.window(1), parsed.attention_bias) == (None, 8, True)
    config["layer_types"] = ["sliding_attention", "full_attention"]
    assert parse_hf_config(config, "c").window(0) == 8


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "architecture": ({"architectures": ["GPT2LMHeadModel"]}, "architectures", "LlamaForCausalLM"),
    "missing": ({"hidden_size": None}, "hidden_size", "missing"),
    "text for a number": ({"vocab_size": "many"}, "vocab_size", "valid integer"),
    "negative": ({"num_hidden_layers": -1}, "num_hidden_layers", "greater than 0"),
    "enormous": ({"intermediate_size": 10**12}, "intermediate_size", "less than"),
    "endless layers": (
        {"architectures": ["MistralForCausalLM"], "num_hidden_layers": 10**15},
        "num_hidden_layers",
        "less than",
    ),
    "heads": ({"num_key_value_heads": 3}, "num_key_value_heads = 3", "divide num_attention_heads 4"),
    "odd head": ({"head_dim": 7}, "head_dim = 7", "even"),
    "activation": ({"hidden_act": "tanh"}, "hidden_act = 'tanh'", "silu"),
    "rope type": ({"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling.rope_type = 'yarn'", "linear, llama3"),
    "rope without factor": ({"rope_scaling": {"rope_type": "linear"}}, "rope_scaling.factor", "required"),
    "rope by layer type": ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "rope_parameters", "one"),
    "partial rope": ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor = 0.5", "1.0"),
    "ffn": ({"fairlead": {"ffn": "moe"}}, "fairlead.ffn = 'moe'", "drelu, gated"),
    "infinite": ({"rope_theta": float("inf")}, "rope_theta = inf", "finite"),
    "layer types": (
        {"architectures": ["Qwen3ForCausalLM"], "use_sliding_window": True, "layer_types": ["chunked", "full"]},
        "layer_types",
        "sliding_attention",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_field_is_named_with_its_value_and_what_is_accepted(config: dict[str, Any], name: str) -> None:
    change, field, accepted = BROKEN[name]
    with pytest.raises(ConfigError) as caught:
        parse_hf_config({**config, **change}, "somewhere/config.json")
    message = str(caught.value)
    assert message.startswith("somewhere/config.json: field ")
    assert field in message and accepted in message.split("accepted:")[1]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_value_in_any_field_is_taken_or_refused_clearly(data: st.DataObject) -> None:
    base: dict[str, Any] = {
        "architectures": ["MistralForCausalLM"],
        "vocab_size": 8,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 8,
    }
    more = ["num_key_value_heads", "head_dim", "rope_scaling", "rope_parameters", "sliding_window", "eos_token_id"]
    field = data.draw(st.sampled_from([*base, *more, "hidden_act", "fairlead", "rms_norm_eps", "tie_word_embeddings"]))
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    base[field] = data.draw(
        st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=9), v, max_size=3))
    )
    try:
        parse_hf_config(base, "config.json")
    except ConfigError as error:
        assert "config.json: field " in str(error)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"fairlead": {"ffn": "drelu"}, "tie_word_embeddings": True},
        {"rope_scaling": {**LLAMA3, "rope_type": "llama3"}, "eos_token_id": [2, 7], "bos_token_id": None},
        {"architectures": ["MistralForCausalLM"], "sliding_window": 5, "hidden_act": "gelu_pytorch_tanh"},
        {
            "architectures": ["Qwen2ForCausalLM"],
            "use_sliding_window": True,
            "max_window_layers": 1,
            "sliding_window": 9,
        },
        {"architectures": ["Qwen3ForCausalLM"], "head_dim": 16, "attention_bias": True},
    ],
)
def test_a_written_config_reads_back_the_same(tmp_path: Path, config: dict[str, Any], change: dict[str, Any]) -> None:
    parsed = parse_hf_config({**config, **change}, "config.json")
    write_hf_config(parsed, tmp_path / "config.json")
    assert read_hf_config(tmp_path / "config.json") == parsed


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '"text"', "\ud800"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_hf_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match=r"config\.json: no such file"):
        read_hf_config(tmp_path / "config.json")
