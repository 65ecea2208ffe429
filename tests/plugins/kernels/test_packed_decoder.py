"""The decoder over packed weights: exact and predictor mode, several sequences at once, on every ISA."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fairlead_kernels as fk
from tests.plugins.kernels.cases import arena, config, each_backend, each_isa, floats, layer, needs_native, table

TOKENS = np.random.default_rng(1).integers(0, 96, 30).astype(np.int32)
NEURONS, RANK = 150, 32
MATRICES = ("query", "key", "value", "output")
FEED_FORWARD = ("gate", "up", "down_t")


def packed(matrix: fk.Matrix, bits: int) -> fk.PackedMatrix:
    return fk.pack(matrix.dequantize(), bits)


def bundled(one: fk.LayerWeights, bits: int) -> dict[str, fk.PackedMatrix]:
    """Gate, up and down as views of one array of bundles."""
    parts = [packed(getattr(one, name), bits) for name in FEED_FORWARD]
    rows = np.concatenate([part.data for part in parts], axis=1)
    width = parts[0].data.shape[1]
    return {
        name: fk.PackedMatrix(rows[:, i * width : (i + 1) * width], parts[i].columns, bits)
        for i, name in enumerate(FEED_FORWARD)
    }


def predictor(rng: np.random.Generator, hidden: int, threshold: float) -> fk.Predictor:
    a, b = floats(rng, RANK, hidden) / 8, floats(rng, NEURONS, RANK) / 4
    return fk.Predictor(fk.pack(a, 4), fk.pack(b, 4), floats(rng, NEURONS) / 4, threshold)


def model(c: fk.DecoderConfig, bits: int = 4, *, threshold: float = 0.0, dense: bool = False) -> fk.DecoderWeights:
    """A random packed model; with `dense` attention and embedding are Q8."""
    rng = np.random.default_rng(7)
    stack: list[fk.LayerWeights] = []
    for _ in range(2):
        one = layer(rng, c, NEURONS)
        attention = {} if dense else {name: packed(getattr(one, name), bits) for name in MATRICES}
        guess = predictor(rng, c.hidden, threshold)
        stack.append(replace(one, **attention, **bundled(one, bits), predictor=guess))
    table = floats(rng, c.vocabulary, c.hidden)
    embedding = fk.quantize_q8(table) if dense else fk.pack(table, bits)
    return fk.DecoderWeights(embedding, tuple(stack), 1 + floats(rng, c.hidden) / 10)


def decoder(choice: str, *, mode: str = "exact", activation: str = "drelu", **made: object) -> fk.Decoder:
    c = replace(config(activation), mode=mode)
    fk.select("numpy")
    weights = model(c, **made)  # type: ignore[arg-type]
    fk.select(choice)
    return fk.Decoder(c, weights, *arena(c))


def steps(d: fk.Decoder, tokens: np.ndarray = TOKENS) -> tuple[np.ndarray, np.ndarray]:
    """The logits of each token and the work of all."""
    results = [d.step(int(token), at, table()) for at, token in enumerate(tokens)]
    return np.stack([one.logits for one in results]), np.sum([one.work for one in results], axis=0)


def unmeasured(work: np.ndarray) -> np.ndarray:
    """Work without times."""
    return work[:, [at for at, name in enumerate(fk.FIELDS) if not name.endswith("_ns")]]


@each_isa
@pytest.mark.parametrize("mode", ["exact", "predictor"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("activation", ["drelu", "relu", "swiglu", "geglu"])
def test_native_equals_numpy(isa: str, mode: str, bits: int, activation: str) -> None:
    expected, expected_work = steps(decoder("numpy", mode=mode, bits=bits, activation=activation), TOKENS[:12])
    got, work = steps(decoder(isa, mode=mode, bits=bits, activation=activation), TOKENS[:12])
    # A rounded activation may fall on either side, and then weighs a 127th of its group's largest.
    np.testing.assert_allclose(got, expected, rtol=0.05, atol=0.05)
    np.testing.assert_allclose(unmeasured(work), unmeasured(expected_work), atol=6)


@each_isa
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dense", [False, True], ids=["packed", "mixed"])
def test_exact_steps_have_the_bits_of_a_prompt(isa: str, bits: int, dense: bool) -> None:
    prompt = decoder(isa, bits=bits, dense=dense).prefill(TOKENS, 0, table(), all_logits=True)
    logits, work = steps(decoder(isa, bits=bits, dense=dense))
    np.testing.assert_array_equal(logits, prompt.logits)
    np.testing.assert_array_equal(unmeasured(work), unmeasured(prompt.work))
    assert 0 < work[0, fk.FIELDS.index("active")] < work[0, fk.FIELDS.index("computed")]


@each_isa
def test_a_predictor_that_predicts_all_changes_no_bit(isa: str) -> None:
    exact, _ = steps(decoder(isa))
    every, work = steps(decoder(isa, mode="predictor", threshold=-np.inf))
    np.testing.assert_array_equal(every, exact)
    assert (work[:, fk.FIELDS.index("predicted")] == len(TOKENS) * NEURONS).all()
    none, work = steps(decoder(isa, mode="predictor", threshold=np.inf))
    assert not np.array_equal(none, exact)
    assert not work[:, :3].any()


@each_isa
def test_prompts_are_dense_in_predictor_mode(isa: str) -> None:
    exact = decoder(isa).prefill(TOKENS, 0, table()).logits
    np.testing.assert_array_equal(decoder(isa, mode="predictor").prefill(TOKENS, 0, table()).logits, exact)
    pieces = decoder(isa, mode="predictor")
    for place, length in ((0, 1), (1, len(TOKENS) - 3), (len(TOKENS) - 2, 1), (len(TOKENS) - 1, 1)):
        found = pieces.prefill(TOKENS[place : place + length], place, table())
    np.testing.assert_array_equal(found.logits, exact)


@each_isa
@pytest.mark.parametrize("mode", ["exact", "predictor"])
def test_threads_change_no_bit(isa: str, mode: str) -> None:
    expected, expected_work = steps(decoder(isa, mode=mode))
    many = decoder(isa, mode=mode)
    fk.set_threads(3)
    logits, work = steps(many)
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(unmeasured(work), unmeasured(expected_work))


@each_backend
def test_predicted_neurons_are_those_of_the_scores(choice: str) -> None:
    d = decoder(choice, mode="predictor")
    hidden = d.embed(TOKENS[:1])
    weights = d.weights.layers[0]
    normal = fk.rmsnorm(hidden[0], weights.feed_forward_norm, d.config.norm_epsilon)
    assert weights.predictor is not None
    chosen = weights.predictor.predict(normal)
    assert 20 < len(chosen) < NEURONS - 20
    listed = hidden.copy()
    d.feed_forward(0, hidden)
    d.feed_forward(0, listed, chosen)
    np.testing.assert_allclose(hidden, listed, atol=1e-5)


def sequences(d: fk.Decoder, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Prompts of different lengths on pages of their own; returns the page tables and the next positions."""
    tables = [np.array([3 * i, 3 * i + 1, 3 * i + 2], np.int32) for i in range(count)]
    lengths = np.array([1 + 2 * i % 7 for i in range(count)], np.int32)
    for index, (own, length) in enumerate(zip(tables, lengths, strict=True)):
        d.prefill(TOKENS[index : index + length], 0, own)
    return tables, lengths


@each_backend
@pytest.mark.parametrize("mode", ["exact", "predictor"])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", ["packed", "q8"])
def test_sequences_side_by_side_have_the_bits_of_each_alone(choice: str, mode: str, count: int, kind: str) -> None:
    def made() -> fk.Decoder:
        d = decoder(choice, mode="exact" if kind == "q8" else mode)
        weights = d.weights
        if kind == "q8":
            fk.select("numpy")
            stack = tuple(
                replace(
                    one,
                    predictor=None,
                    **{name: fk.quantize_q8(getattr(one, name).dequantize()) for name in MATRICES + FEED_FORWARD},
                )
                for one in weights.layers
            )
            weights = replace(weights, layers=stack)
            fk.select(choice)
        return fk.Decoder(d.config, weights, *arena(d.config, pages=24))

    together, alone = made(), made()
    tables, lengths = sequences(together, count)
    sequences(alone, count)
    for turn in range(3):
        tokens = TOKENS[turn : turn + count]
        result = together.step_many(tokens, lengths + turn, tables)
        for index in range(count):
            single = alone.step(int(tokens[index]), int(lengths[index]) + turn, tables[index])
            np.testing.assert_array_equal(result.logits[index], single.logits)
            np.testing.assert_array_equal(result.active[index], single.active)
        np.testing.assert_array_equal(result.work[:, fk.FIELDS.index("active")], result.active.sum(axis=0))


@each_backend
def test_batched_steps_count_activations(choice: str) -> None:
    c = config()
    fk.select("numpy")
    weights = model(c)
    fk.select(choice)
    counts = [np.zeros(NEURONS, np.int64) for _ in range(2)]
    d = fk.Decoder(c, weights, *arena(c, pages=24), activation_counts=counts)
    result = d.step_many(TOKENS[:3], np.zeros(3, np.int32), [np.array([i], np.int32) for i in range(3)])
    np.testing.assert_array_equal([one.sum() for one in counts], result.active.sum(axis=0))


@each_backend
def test_forced_neurons_replace_the_prediction_in_turn(choice: str) -> None:
    d = decoder(choice, mode="predictor")
    lists = [np.arange(0, 50, dtype=np.int32), np.arange(100, 110, dtype=np.int32)]
    for index in range(2):
        d.force_neurons(index, lists)
    predicted = [d.step(int(TOKENS[at]), at, table()).work[0, 0] for at in range(3)]
    assert predicted == [50, 10, 50]
    d.force_neurons(0, [])
    assert d.step(0, 3, table()).work[0, 0] not in (50, 10)


@each_backend
def test_bad_calls_are_refused(choice: str) -> None:
    d = decoder(choice)
    with pytest.raises(ValueError, match=r"layer 0: has no predictor in use"):
        d.force_neurons(0, [])
    with pytest.raises(ValueError, match="must be 1 to 8 of each, got 9 and 0"):
        d.step_many(TOKENS[:9], np.zeros(9, np.int32), [])
    with pytest.raises(IndexError, match="position: must be at least 0, got -1"):
        d.step_many(TOKENS[:1], np.array([-1], np.int32), [table()])
    with pytest.raises(IndexError, match="5 positions need 2 pages"):
        d.step_many(TOKENS[:1], np.array([4], np.int32), [np.zeros(1, np.int32)])


@needs_native
def test_parts_that_do_not_fit_are_named() -> None:
    c = config()
    fk.select("numpy")
    weights = model(c)
    one = weights.layers[0]
    assert one.gate is not None and one.predictor is not None
    mixed = replace(one, gate=fk.quantize_q8(one.gate.dequantize()), predictor=None)
    with pytest.raises(ValueError, match=r"layers\[0\]: gate, up and down_t must be of one kind"):
        fk.Decoder(c, replace(weights, layers=(mixed,)), *arena(c, layers=1))
    narrow = replace(one, predictor=replace(one.predictor, bias=one.predictor.bias[:3]))
    with pytest.raises(ValueError, match=r"layers\[0\].predictor.bias: must be float32 \[150\], got float32 \[3\]"):
        fk.Decoder(c, replace(weights, layers=(narrow,)), *arena(c, layers=1))
    unsure = replace(one, predictor=replace(one.predictor, threshold=float("nan")))
    with pytest.raises(ValueError, match=r"layers\[0\].predictor.threshold: must be a number, got nan"):
        fk.Decoder(c, replace(weights, layers=(unsure,)), *arena(c, layers=1))
    with pytest.raises(ValueError, match="mode: must be one of exact, predictor, got 'fast'"):
        replace(c, mode="fast")


def int8_arena(c: fk.DecoderConfig, pages: int = 12) -> dict[str, np.ndarray]:
    """Pages of int8 whose unwritten scales are NaN, so that a read of them shows."""
    shape = (2, pages, 4, c.kv_heads, c.head_dim)
    return {
        "key_pages": np.zeros(shape, np.int8),
        "value_pages": np.zeros(shape, np.int8),
        "key_scale": np.full(shape[:-1], np.nan, np.float32),
        "value_scale": np.full(shape[:-1], np.nan, np.float32),
    }


@each_backend
def test_int8_pages_change_the_logits_little(choice: str) -> None:
    d = decoder(choice)
    expected = d.prefill(TOKENS, 0, table(), all_logits=True).logits
    rounded = fk.Decoder(d.config, d.weights, **int8_arena(d.config))
    got = rounded.prefill(TOKENS, 0, table(), all_logits=True).logits
    assert 0 < np.linalg.norm(got - expected) < 0.05 * np.linalg.norm(expected)


@each_isa
def test_int8_pages_give_steps_prompts_and_batches_the_same_bits(isa: str) -> None:
    d = decoder(isa)
    prompt = fk.Decoder(d.config, d.weights, **int8_arena(d.config)).prefill(TOKENS, 0, table(), all_logits=True)
    logits, _ = steps(fk.Decoder(d.config, d.weights, **int8_arena(d.config)))
    np.testing.assert_array_equal(logits, prompt.logits)
    batched = fk.Decoder(d.config, d.weights, **int8_arena(d.config))
    batched.prefill(TOKENS[:20], 0, table())
    guesses = batched.step_many(TOKENS[20:28], np.arange(20, 28, dtype=np.int32), [table()] * 8)
    np.testing.assert_array_equal(guesses.logits, prompt.logits[20:28])


@each_isa
def test_int8_pages_are_native_as_in_numpy(isa: str) -> None:
    reference, native = decoder("numpy"), decoder(isa)
    fk.select("numpy")
    expected = fk.Decoder(reference.config, reference.weights, **int8_arena(reference.config))
    expected_logits = expected.prefill(TOKENS, 0, table()).logits
    fk.select(isa)
    got = fk.Decoder(native.config, native.weights, **int8_arena(native.config)).prefill(TOKENS, 0, table()).logits
    np.testing.assert_allclose(got, expected_logits, rtol=0.05, atol=0.05)


@each_backend
def test_int8_pages_need_scales(choice: str) -> None:
    d = decoder(choice)
    pages = int8_arena(d.config)
    with pytest.raises(ValueError, match="key_scale: must be a NumPy array of float32, got NoneType"):
        fk.Decoder(d.config, d.weights, pages["key_pages"], pages["value_pages"])
    with pytest.raises(ValueError, match="key_scale: only for int8 pages, got float32 pages"):
        fk.Decoder(d.config, d.weights, *arena(d.config), key_scale=pages["key_scale"])
    with pytest.raises(ValueError, match="value_pages: must be int8"):
        fk.Decoder(d.config, d.weights, pages["key_pages"], arena(d.config)[1])
