"""Mixtures of experts: the router's choice, the same bits alone, in prompts and side by side, and NumPy's result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from tests.plugins.kernels.cases import F32, arena, config, each_backend, each_isa, examples, floats, layer, table
from tests.plugins.kernels.test_packed_decoder import unmeasured

TOKENS = np.random.default_rng(1).integers(0, 96, 30).astype(np.int32)
NEURONS, EXPERTS, RANK = 45, 6, 32
EXPERT_FIELD = fk.FIELDS.index("experts")


def network(rng: np.random.Generator, hidden: int, kind: str, *, predicts: float | None = None) -> fk.NetworkWeights:
    """A random network of Q8 or packed weights, with a predictor where it is given a threshold."""
    values = [floats(rng, NEURONS, hidden) / np.float32(hidden**0.5) for _ in range(3)]
    if kind == "q8":
        return fk.NetworkWeights(*map(fk.quantize_q8, values))
    rows = [fk.pack(value, int(kind)) for value in values]
    if predicts is None:
        return fk.NetworkWeights(*rows)
    a, b = floats(rng, RANK, hidden) / 8, floats(rng, NEURONS, RANK) / 4
    guess = fk.Predictor(fk.pack(a, 4), fk.pack(b, 4), floats(rng, NEURONS) / 4, predicts)
    return fk.NetworkWeights(*rows, predictor=guess)


def mixture(
    rng: np.random.Generator,
    hidden: int,
    kind: str = "4",
    *,
    experts: int = EXPERTS,
    chosen: int = 2,
    renormalize: bool = True,
    shared: bool = False,
    predicts: float | None = None,
    early: bool = False,
) -> fk.MixtureWeights:
    """A random mixture."""
    return fk.MixtureWeights(
        router=floats(rng, experts, hidden) / 4,
        experts=tuple(network(rng, hidden, kind, predicts=predicts) for _ in range(experts)),
        chosen=chosen,
        renormalize=renormalize,
        shared=network(rng, hidden, kind, predicts=predicts) if shared else None,
        shared_gate=floats(rng, hidden) / 4 if shared else None,
        sigmoid=early,
        before_attention=early,
    )


def model(c: fk.DecoderConfig, kind: str = "4", **made: Any) -> fk.DecoderWeights:
    """A random model: the first layer dense, the others mixtures."""
    rng = np.random.default_rng(7)
    dense = layer(rng, c, NEURONS)
    stack = [dense]
    for _ in range(2):
        one = layer(rng, c, NEURONS)
        stack.append(replace(one, gate=None, up=None, down_t=None, mixture=mixture(rng, c.hidden, kind, **made)))
    return fk.DecoderWeights(
        fk.quantize_q8(floats(rng, c.vocabulary, c.hidden)), tuple(stack), 1 + floats(rng, c.hidden) / 10
    )


def decoder(
    choice: str, kind: str = "4", *, mode: str = "exact", activation: str = "swiglu", counts: Any = None, **made: Any
) -> fk.Decoder:
    c = replace(config(activation), mode=mode)
    fk.select("numpy")
    weights = model(c, kind, **made)
    fk.select(choice)
    return fk.Decoder(c, weights, *arena(c, layers=3, pages=24), activation_counts=counts)


def steps(d: fk.Decoder, tokens: np.ndarray = TOKENS) -> tuple[np.ndarray, np.ndarray]:
    results = [d.step(int(token), at, table(pages=24)) for at, token in enumerate(tokens)]
    return np.stack([one.logits for one in results]), np.sum([one.work for one in results], axis=0)


@each_isa
@pytest.mark.parametrize("kind", ["4", "8", "q8"])
@pytest.mark.parametrize("shared", [False, True], ids=["mixtral", "shared"])
@pytest.mark.parametrize("activation", ["swiglu", "drelu"])
def test_native_equals_numpy(isa: str, kind: str, shared: bool, activation: str) -> None:
    made = {"shared": shared, "renormalize": not shared, "activation": activation}
    expected, expected_work = steps(decoder("numpy", kind, **made), TOKENS[:12])
    got, work = steps(decoder(isa, kind, **made), TOKENS[:12])
    # A rounded activation may fall on either side, and then weighs a 127th of its group's largest.
    np.testing.assert_allclose(got, expected, rtol=0.05, atol=0.05)
    np.testing.assert_allclose(unmeasured(work), unmeasured(expected_work), atol=6)
    np.testing.assert_array_equal(work[:, EXPERT_FIELD], [0, 2 * 12, 2 * 12])


@each_isa
@pytest.mark.parametrize("kind", ["4", "8", "q8"])
@pytest.mark.parametrize("made", [{}, {"shared": True}, {"early": True}], ids=["mixtral", "shared", "early"])
def test_a_prompt_has_the_bits_of_its_tokens(isa: str, kind: str, made: dict[str, bool]) -> None:
    prompt = decoder(isa, kind, **made).prefill(TOKENS, 0, table(pages=24), all_logits=True)
    logits, work = steps(decoder(isa, kind, **made))
    np.testing.assert_array_equal(logits, prompt.logits)
    np.testing.assert_array_equal(work[:, :3], prompt.work[:, :3])
    # A prompt reads each expert once for all the tokens that chose it.
    assert (prompt.work[1:, EXPERT_FIELD] <= EXPERTS).all()
    assert (work[1:, EXPERT_FIELD] == 2 * len(TOKENS)).all()


@each_isa
@pytest.mark.parametrize("mode", ["exact", "predictor"])
@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("early", [False, True])
def test_sequences_side_by_side_have_the_bits_of_each_alone(isa: str, mode: str, count: int, early: bool) -> None:
    made = {"mode": mode, "shared": True, "predicts": 0.0, "early": early}
    together, alone = decoder(isa, **made), decoder(isa, **made)
    tables = [np.array([3 * i, 3 * i + 1, 3 * i + 2], np.int32) for i in range(count)]
    lengths = np.array([1 + 2 * i % 7 for i in range(count)], np.int32)
    for d in (together, alone):
        for index in range(count):
            d.prefill(TOKENS[index : index + lengths[index]], 0, tables[index])
    for turn in range(3):
        tokens = TOKENS[turn : turn + count]
        result = together.step_many(tokens, lengths + turn, tables)
        for index in range(count):
            single = alone.step(int(tokens[index]), int(lengths[index]) + turn, tables[index])
            np.testing.assert_array_equal(result.logits[index], single.logits)
            np.testing.assert_array_equal(result.active[index], single.active)


@each_isa
def test_threads_change_no_bit(isa: str) -> None:
    expected, expected_work = steps(decoder(isa, shared=True))
    many = decoder(isa, shared=True)
    fk.set_threads(3)
    logits, work = steps(many)
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(unmeasured(work), unmeasured(expected_work))


@each_backend
def test_predictors_of_experts_decide_for_single_tokens_only(choice: str) -> None:
    exact, _ = steps(decoder(choice, shared=True, predicts=0.0), TOKENS[:8])
    every, work = steps(decoder(choice, shared=True, mode="predictor", predicts=-np.inf), TOKENS[:8])
    np.testing.assert_array_equal(every, exact)
    assert (work[1:, fk.FIELDS.index("predicted")] == 8 * 3 * NEURONS).all()
    none, work = steps(decoder(choice, shared=True, mode="predictor", predicts=np.inf), TOKENS[:8])
    assert not np.array_equal(none, exact) and not work[1:, :3].any()
    prompts = [
        decoder(choice, shared=True, mode=mode, predicts=np.inf).prefill(TOKENS, 0, table(pages=24)).logits
        for mode in ("exact", "predictor")
    ]
    np.testing.assert_array_equal(*prompts)


@each_backend
def test_an_expert_without_a_predictor_stays_exact(choice: str) -> None:
    d = decoder(choice, mode="predictor", predicts=np.inf)
    one = d.weights.layers[1].mixture
    assert one is not None
    bare = replace(one, experts=tuple(replace(expert, predictor=None) for expert in one.experts))
    layers = (d.weights.layers[0], replace(d.weights.layers[1], mixture=bare), d.weights.layers[2])
    mixed = fk.Decoder(d.config, replace(d.weights, layers=layers), *arena(d.config, layers=3, pages=24))
    _, work = steps(mixed, TOKENS[:4])
    assert work[1, 1] == 4 * 2 * NEURONS and work[2, 1] == 0


@each_backend
@pytest.mark.parametrize("tokens", [1, 30])
def test_activations_are_counted_by_expert(choice: str, tokens: int) -> None:
    counts = [np.zeros(NEURONS, np.int64), *(np.zeros((EXPERTS + 1) * NEURONS, np.int64) for _ in range(2))]
    d = decoder(choice, shared=True, activation="drelu", counts=counts)
    result = d.prefill(TOKENS[:tokens], 0, table(pages=24))
    for layer_counts, active in zip(counts, result.active, strict=True):
        assert layer_counts.sum() == active
    used = counts[1].reshape(EXPERTS + 1, NEURONS).any(axis=1)
    assert used[-1] and used[:-1].sum() == result.work[1, EXPERT_FIELD]


@each_backend
def test_a_list_of_neurons_restricts_the_chosen_experts(choice: str) -> None:
    d = decoder(choice, shared=True)
    start = d.embed(TOKENS[:1])
    every, listed, none = start.copy(), start.copy(), start.copy()
    active = d.feed_forward(1, start)
    assert d.feed_forward(1, every, np.arange((EXPERTS + 1) * NEURONS, dtype=np.int32)) == active
    np.testing.assert_array_equal(every, start)
    shared_only = np.arange(EXPERTS * NEURONS, (EXPERTS + 1) * NEURONS, dtype=np.int32)
    assert d.feed_forward(1, listed, shared_only) == NEURONS
    assert not np.array_equal(listed, start)
    assert d.feed_forward(1, none, np.empty(0, np.int32)) == 0


@each_backend
@examples(20)
@given(
    experts=st.integers(1, 40),
    chosen=st.integers(1, 40),
    renormalize=st.booleans(),
    shared=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_formula_of_the_paper(
    choice: str, experts: int, chosen: int, renormalize: bool, shared: bool, seed: int
) -> None:
    c, rng, chosen = config("swiglu"), np.random.default_rng(seed), min(chosen, experts)
    fk.select("numpy")
    made = mixture(rng, c.hidden, "q8", experts=experts, chosen=chosen, renormalize=renormalize, shared=shared)
    one = replace(layer(rng, c, NEURONS), gate=None, up=None, down_t=None, mixture=made)
    weights = fk.DecoderWeights(fk.quantize_q8(floats(rng, c.vocabulary, c.hidden)), (one,), one.attention_norm)
    fk.select(choice)
    d = fk.Decoder(c, weights, *arena(c, layers=1))
    hidden = d.embed(TOKENS[:3])
    expected = hidden.copy()
    for token in expected:
        normal = fk.rmsnorm(token, one.feed_forward_norm, c.norm_epsilon)
        token += formula(made, normal)
    d.feed_forward(0, hidden)
    np.testing.assert_allclose(hidden, expected, rtol=1e-4, atol=1e-4)


def formula(made: fk.MixtureWeights, x: F32) -> F32:
    logits = made.router.astype(np.float64) @ x
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    best = np.argsort(-shares)[: made.chosen]
    scale = shares[best].sum() if made.renormalize else 1.0
    y = sum(shares[e] / scale * swiglu(made.experts[e], x) for e in best)
    if made.shared is not None and made.shared_gate is not None:
        y = y + swiglu(made.shared, x) / (1 + np.exp(-(made.shared_gate.astype(np.float64) @ x)))
    return np.asarray(y, np.float32)


def swiglu(part: fk.NetworkWeights, x: F32) -> F32:
    gate, up, down_t = (m.dequantize().astype(np.float64) for m in (part.gate, part.up, part.down_t) if m is not None)
    g = gate @ x
    return (g / (1 + np.exp(-g)) * (up @ x)) @ down_t


@each_isa
def test_a_router_before_the_attention_equals_numpy(isa: str) -> None:
    made = {"kind": "q8", "early": True, "activation": "relu"}
    expected, expected_work = steps(decoder("numpy", **made), TOKENS[:12])
    got, work = steps(decoder(isa, **made), TOKENS[:12])
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(unmeasured(work), unmeasured(expected_work), atol=2)


@each_backend
def test_a_router_before_the_attention_looks_at_the_state_there(choice: str) -> None:
    d = decoder(choice, "q8", early=True)
    one = d.weights.layers[1].mixture
    assert one is not None
    before = d.embed(TOKENS[:3])
    hidden = before.copy()
    with pytest.raises(ValueError, match="its router looks before the attention of the same tokens"):
        d.feed_forward(1, hidden)
    d.attend(1, hidden, 0, table(pages=24))
    expected = hidden.copy()
    for early, late in zip(before, expected, strict=True):
        scores = 1 / (1 + np.exp(-(one.router.astype(np.float64) @ early)))
        best = np.argsort(-scores)[: one.chosen]
        normal = fk.rmsnorm(late, d.weights.layers[1].feed_forward_norm, d.config.norm_epsilon)
        y = sum(scores[e] / scores[best].sum() * swiglu(one.experts[e], normal) for e in best)
        late += np.asarray(y, np.float32)
    d.feed_forward(1, hidden)
    np.testing.assert_allclose(hidden, expected, rtol=1e-4, atol=1e-4)


@each_backend
def test_of_equal_experts_the_first_are_chosen(choice: str) -> None:
    d = decoder(choice)
    one = d.weights.layers[1].mixture
    assert one is not None
    counts = [np.zeros(layer.neurons, np.int64) for layer in d.weights.layers]
    equal = replace(one, router=np.zeros_like(one.router))
    layers = (d.weights.layers[0], replace(d.weights.layers[1], mixture=equal), d.weights.layers[2])
    weights = replace(d.weights, layers=layers)
    fk.Decoder(d.config, weights, *arena(d.config, layers=3), activation_counts=counts).prefill(TOKENS, 0, table())
    assert counts[1].reshape(EXPERTS, NEURONS).any(axis=1).tolist() == [True, True, False, False, False, False]


@each_backend
def test_values_that_are_no_numbers_reach_the_output(choice: str) -> None:
    d = decoder(choice)
    hidden = d.embed(TOKENS[:2])
    hidden[0] = np.nan
    d.feed_forward(1, hidden)
    assert np.isnan(hidden[0]).all() and np.isfinite(hidden[1]).all()


def test_what_does_not_fit_is_named() -> None:
    c, rng = config(), np.random.default_rng(0)
    good = mixture(rng, c.hidden, shared=True)
    wrong: dict[str, fk.MixtureWeights] = {
        r"layers\[0\].mixture.chosen: must be 1..6, got 7": replace(good, chosen=7),
        r"layers\[0\].mixture.router: must be float32 \[6, 64\]": replace(good, router=good.router[:5]),
        r"mixture.shared_gate: must be given exactly where there is a shared expert": replace(good, shared=None),
        r"mixture.experts\[0\]: must have gate, up and down_t": replace(
            good, experts=(fk.NetworkWeights(), *good.experts[1:])
        ),
        r"mixture.shared.gate: must be \[45, 64\], got \[45, 32\]": replace(good, shared=network(rng, 32, "4")),
    }
    for message, made in wrong.items():
        one = replace(layer(rng, c, NEURONS), gate=None, up=None, down_t=None, mixture=made)
        weights = fk.DecoderWeights(fk.quantize_q8(floats(rng, 96, 64)), (one,), one.attention_norm)
        with pytest.raises(ValueError, match=message):
            fk.Decoder(c, weights, *arena(c, layers=1))
