"""The whole decoder: native against NumPy, prompt against single tokens, and against Hugging Face's Llama."""

from __future__ import annotations

import numpy as np
import pytest

import fairlead_kernels as fk
from tests.plugins.kernels.cases import arena, config, each_backend, each_isa, floats, table, weights

TOKENS = np.random.default_rng(1).integers(0, 96, 30).astype(np.int32)
ACTIVATIONS = ("drelu", "relu", "swiglu", "geglu")


def decoder(choice: str, activation: str = "drelu", *, extras: bool = False) -> fk.Decoder:
    c = config(activation)
    fk.select("numpy")
    model = weights(c, extras=extras)
    fk.select(choice)
    return fk.Decoder(c, model, *arena(c))


@each_isa
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("extras", [False, True], ids=["plain", "biases"])
def test_native_equals_numpy(isa: str, activation: str, extras: bool) -> None:
    expected = decoder("numpy", activation, extras=extras).prefill(TOKENS, 0, table(), all_logits=True)
    got = decoder(isa, activation, extras=extras).prefill(TOKENS, 0, table(), all_logits=True)
    np.testing.assert_allclose(got.logits, expected.logits, rtol=1e-3, atol=1e-4)
    # A gate within rounding of zero may fall on either side.
    np.testing.assert_allclose(got.active, expected.active, atol=2)


@each_isa
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_prefill_and_steps_give_the_same_bits(isa: str, activation: str) -> None:
    whole = decoder(isa, activation, extras=True)
    prompt = whole.prefill(TOKENS, 0, table(), all_logits=True)
    single = decoder(isa, activation, extras=True)
    steps = [single.step(int(token), at, table()) for at, token in enumerate(TOKENS)]
    np.testing.assert_array_equal(np.stack([step.logits for step in steps]), prompt.logits)
    np.testing.assert_array_equal(sum(step.active for step in steps), prompt.active)


@each_isa
def test_a_prompt_may_come_in_parts(isa: str) -> None:
    whole = decoder(isa).prefill(TOKENS, 0, table())
    parts = decoder(isa)
    parts.prefill(TOKENS[:17], 0, table())
    np.testing.assert_array_equal(parts.prefill(TOKENS[17:], 17, table()).logits, whole.logits)


@each_isa
def test_a_long_prompt_runs_in_passes(isa: str) -> None:
    c = config()
    long = np.random.default_rng(2).integers(0, 96, 300).astype(np.int32)
    fk.select(isa)
    prompt = fk.Decoder(c, weights(c), *arena(c, pages=80)).prefill(long, 0, table(pages=80), all_logits=True)
    single = fk.Decoder(c, weights(c), *arena(c, pages=80))
    for at, token in enumerate(long):
        step = single.step(int(token), at, table(pages=80))
        np.testing.assert_array_equal(step.logits, prompt.logits[at])


@each_backend
def test_sequences_share_a_decoder_through_their_pages(choice: str) -> None:
    alone = decoder(choice).prefill(TOKENS[:8], 0, np.array([5, 2], np.int32)).logits
    shared = decoder(choice)
    mine, other = np.array([5, 2], np.int32), np.array([0, 7], np.int32)
    for at in range(8):
        last = shared.step(int(TOKENS[at]), at, mine)
        shared.step(int(TOKENS[-1 - at]), at, other)
    np.testing.assert_allclose(last.logits, alone, rtol=1e-4, atol=1e-5)


@each_backend
def test_layers_can_be_run_one_by_one(choice: str) -> None:
    expected = decoder(choice).prefill(TOKENS[:5], 0, table(), all_logits=True)
    manual = decoder(choice)
    hidden = manual.embed(TOKENS[:5])
    active = []
    for index in range(2):
        manual.attend(index, hidden, 0, table())
        active.append(manual.feed_forward(index, hidden))
    np.testing.assert_array_equal(manual.logits(hidden), expected.logits)
    assert active == expected.active.tolist()


@each_backend
def test_the_caller_may_compute_the_feed_forward(choice: str) -> None:
    c = config()
    fk.select("numpy")
    model = weights(c)
    fk.select(choice)
    bare = tuple(
        fk.LayerWeights(w.attention_norm, w.query, w.key, w.value, w.output, w.feed_forward_norm, query_bias=None)
        for w in model.layers
    )
    own = fk.Decoder(c, fk.DecoderWeights(model.embedding, bare, model.final_norm), *arena(c))
    hidden = own.embed(TOKENS[:1])
    for index, w in enumerate(model.layers):
        own.attend(index, hidden, 0, table())
        normal = fk.rmsnorm(hidden[0], w.feed_forward_norm)
        assert w.gate and w.up and w.down_t
        hidden[0] += fk.sparse_ffn_q8(w.gate, w.up, w.down_t, normal)[0]
    expected = fk.Decoder(c, model, *arena(c)).step(int(TOKENS[0]), 0, table()).logits
    np.testing.assert_array_equal(own.logits(hidden)[0], expected)
    with pytest.raises(ValueError, match="layer 0 has no feed-forward weights"):
        own.step(0, 0, table())


@each_backend
def test_a_predictors_list_restricts_the_neurons(choice: str) -> None:
    d = decoder(choice)
    start = d.embed(TOKENS[:1])
    every, some, none = start.copy(), start.copy(), start.copy()
    assert d.feed_forward(0, every, np.arange(45, dtype=np.int32)) == d.feed_forward(0, start)
    np.testing.assert_array_equal(every, start)
    assert d.feed_forward(0, some, np.arange(0, 45, 2, dtype=np.int32)) <= 23
    assert not np.array_equal(some, every)
    assert d.feed_forward(0, none, np.empty(0, np.int32)) == 0
    np.testing.assert_array_equal(none, d.embed(TOKENS[:1]))


@each_backend
def test_activation_counts_profile_the_neurons(choice: str) -> None:
    c = config()
    fk.select(choice)
    counts = [np.zeros(45, np.int64) for _ in range(2)]
    d = fk.Decoder(c, weights(c), *arena(c), activation_counts=counts)
    total = d.prefill(TOKENS[:20], 0, table()).active + d.step(int(TOKENS[20]), 20, table()).active
    np.testing.assert_array_equal([one.sum() for one in counts], total)
    assert all(one.max() <= 21 for one in counts)


def huggingface_logits(c: fk.DecoderConfig, model: fk.DecoderWeights) -> np.ndarray:
    """The logits of transformers' Llama with the same (dequantized) weights."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=c.vocabulary,
            hidden_size=c.hidden,
            intermediate_size=45,
            num_hidden_layers=len(model.layers),
            num_attention_heads=c.heads,
            num_key_value_heads=c.kv_heads,
            head_dim=c.head_dim,
            rms_norm_eps=c.norm_epsilon,
            rope_theta=c.rope_theta,
            tie_word_embeddings=True,
        )
    ).eval()
    state = {"model.embed_tokens.weight": model.embedding.dequantize(), "model.norm.weight": model.final_norm}
    names = {"query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj"}
    names |= {"output": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj"}
    for index, w in enumerate(model.layers):
        prefix = f"model.layers.{index}."
        state |= {f"{prefix}{theirs}.weight": getattr(w, ours).dequantize() for ours, theirs in names.items()}
        assert w.down_t
        state[f"{prefix}mlp.down_proj.weight"] = np.ascontiguousarray(w.down_t.dequantize().T)
        state[f"{prefix}input_layernorm.weight"] = w.attention_norm
        state[f"{prefix}post_attention_layernorm.weight"] = w.feed_forward_norm
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    llama.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    with torch.no_grad():
        return llama(torch.from_numpy(TOKENS.astype(np.int64))[None]).logits[0].numpy()


@each_backend
def test_equals_huggingface_llama(choice: str) -> None:
    c = config("swiglu")
    fk.select("numpy")
    model = weights(c)
    expected = huggingface_logits(c, model)
    fk.select(choice)
    got = fk.Decoder(c, model, *arena(c)).prefill(TOKENS, 0, table(), all_logits=True).logits
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


@each_backend
def test_bad_calls_are_refused_and_the_decoder_lives_on(choice: str) -> None:
    d = decoder(choice)
    with pytest.raises(IndexError, match=r"token: 96 is outside 0..95"):
        d.step(96, 0, table())
    with pytest.raises(IndexError, match="token: 1099511627776 is outside"):
        d.step(2**40, 0, table())
    with pytest.raises(IndexError, match=r"tokens\[1\]: -1 is outside 0..95"):
        d.prefill(np.array([0, -1], np.int32), 0, table())
    with pytest.raises(ValueError, match="tokens: must not be empty"):
        d.prefill(np.empty(0, np.int32), 0, table())
    with pytest.raises(IndexError, match="position: must be at least 0, got -1"):
        d.step(0, -1, table())
    with pytest.raises(IndexError, match="49 positions need 13 pages of 4, the table has 12"):
        d.step(0, 48, table())
    with pytest.raises(IndexError, match=r"page_table\[1\]: 12 is outside 0..11"):
        d.step(0, 4, np.array([0, 12], np.int32))
    with pytest.raises(ValueError, match="page_table: must be int32"):
        d.step(0, 0, np.zeros(1))  # type: ignore[arg-type]
    with pytest.raises(IndexError, match=r"layer: 2 is outside 0\.\.1"):
        d.attend(2, np.zeros((1, 64), np.float32), 0, table())
    with pytest.raises(ValueError, match=r"hidden: must be float32 \[any, 64\]"):
        d.attend(0, np.zeros((1, 32), np.float32), 0, table())
    with pytest.raises(ValueError, match="neurons: only for one token, got 2"):
        d.feed_forward(0, np.zeros((2, 64), np.float32), np.zeros(1, np.int32))
    with pytest.raises(IndexError, match=r"neurons\[0\]: 45 is outside 0..44"):
        d.feed_forward(0, np.zeros((1, 64), np.float32), np.array([45], np.int32))
    assert np.isfinite(d.step(0, 0, table()).logits).all()


@each_backend
def test_weights_that_do_not_fit_are_named(choice: str) -> None:
    c = config()
    fk.select(choice)
    model = weights(c)
    keys, values = arena(c)
    wrong = fk.DecoderWeights(model.embedding, model.layers, floats(np.random.default_rng(0), 63))
    with pytest.raises(ValueError, match=r"final_norm: must be float32 \[64\], got float32 \[63\]"):
        fk.Decoder(c, wrong, keys, values)
    broken = fk.DecoderWeights(model.embedding.take(slice(95)), model.layers, model.final_norm)
    with pytest.raises(ValueError, match=r"embedding: must be \[96, 64\], got \[95, 64\]"):
        fk.Decoder(c, broken, keys, values)
    with pytest.raises(ValueError, match="value_pages: must be float32"):
        fk.Decoder(c, model, keys, values[:, :3])
    keys.flags.writeable = False
    with pytest.raises(ValueError, match="key_pages: must be writable"):
        fk.Decoder(c, model, keys, values)
    with pytest.raises(ValueError, match="heads: must be a multiple of kv_heads 3, got 8"):
        fk.DecoderConfig(96, 64, 8, 3, 8)
