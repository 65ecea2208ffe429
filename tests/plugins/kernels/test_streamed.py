"""Layers that stream their neurons from a file: the bits of the same rows in memory, whatever is cached."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels.backend import extension
from fairlead_kernels.streamed import BundleShape, NeuronStore, StreamOptions
from fairlead_kernels.work import FIELDS

from .cases import examples, floats, needs_native

BLOCK, LAYERS, VOCABULARY = 4096, 3, 96
MODES = ["exact", "exact-read-gates", "predictor"]


class Model:
    """A small model twice: its feed-forward rows in memory, and in a bundle file."""

    def __init__(
        self, folder: Path, hidden: int, bits: int, *, neurons: int = 90, activation: str = "drelu", matrices: int = 3
    ) -> None:
        self.matrices = matrices
        self.rng = np.random.default_rng(hidden + bits)
        self.hidden, self.bits, self.neurons, self.path = hidden, bits, neurons, folder / "neurons.bin"
        self.config = fk.DecoderConfig(VOCABULARY, hidden, heads=4, kv_heads=2, head_dim=16, activation=activation)
        self.orders = [self.rng.permutation(neurons).astype(np.int32) for _ in range(LAYERS)]
        layers = [self._layer() for _ in range(LAYERS)]
        self.weights = fk.DecoderWeights(self._packed(VOCABULARY, hidden), tuple(layers), 1 + floats(self.rng, hidden))
        width = fk.packed_row_bytes(hidden, bits)
        self.together = 1
        while 2 * matrices * width * self.together <= BLOCK:
            self.together *= 2
        self.cluster_bytes = -(-matrices * width // BLOCK) * BLOCK
        self._write(width)

    def _packed(self, rows: int, columns: int) -> fk.PackedMatrix:
        return fk.pack(floats(self.rng, rows, columns) / np.float32(columns**0.5), self.bits)

    def _layer(self) -> fk.LayerWeights:
        hidden, heads = self.hidden, 64
        rank = 32
        predictor = fk.Predictor(
            self._packed(rank, hidden), self._packed(self.neurons, rank), floats(self.rng, self.neurons), 0.2
        )
        return fk.LayerWeights(
            attention_norm=1 + floats(self.rng, hidden) / 10,
            query=self._packed(heads, hidden),
            key=self._packed(32, hidden),
            value=self._packed(32, hidden),
            output=self._packed(hidden, heads),
            feed_forward_norm=1 + floats(self.rng, hidden) / 10,
            gate=self._packed(self.neurons, hidden),
            up=self._packed(self.neurons, hidden) if self.matrices == 3 else None,
            down_t=self._packed(self.neurons, hidden),
            gate_bias=floats(self.rng, self.neurons) if self.matrices == 2 else None,
            down_bias=floats(self.rng, hidden) if self.matrices == 2 else None,
            predictor=predictor,
        )

    def _write(self, width: int) -> None:
        clusters = -(-self.neurons // self.together)
        whole = np.full((LAYERS, clusters * self.together, self.cluster_bytes // self.together), 0xA5, np.uint8)
        for layer, order in enumerate(self.orders):
            weights = self.weights.layers[layer]
            rows = [matrix for matrix in (weights.gate, weights.up, weights.down_t) if matrix is not None]
            for part, matrix in enumerate(rows):
                whole[layer, : self.neurons, part * width : (part + 1) * width] = matrix.data[order]
        self.path.write_bytes(whole.tobytes())
        self.clusters = clusters

    def shape(self, *, resident_gates: bool, hot: int = 0) -> BundleShape:
        """How the file lies."""
        size = self.clusters * self.cluster_bytes
        networks = tuple((layer * size, self.neurons, hot) for layer in range(LAYERS))
        return BundleShape(
            self.hidden, self.bits, self.together, self.cluster_bytes, networks, resident_gates, self.matrices
        )

    def pages(self) -> tuple[Any, Any]:
        """Empty pages."""
        shape = (LAYERS, 4, 16, 2, 16)
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def memory(self, mode: str, counts: Any = None) -> fk.Decoder:
        """The model with all rows in memory."""
        config = replace(self.config, mode=mode.split("-")[0])
        return fk.Decoder(config, self.weights, *self.pages(), activation_counts=counts)

    def streamed(
        self, mode: str, slots: int, *, hot: int = 0, counts: Any = None, **options: Any
    ) -> tuple[fk.Decoder, NeuronStore]:
        """The model with rows in a file and so many slots."""
        shape = self.shape(resident_gates=mode == "exact", hot=hot)
        store = NeuronStore(self.path, shape, slots, StreamOptions(**options))
        layers = []
        for index, layer in enumerate(self.weights.layers):
            source = store.feed_forward(
                index,
                self.orders[index],
                self.config.activation,
                gates=layer.gate if mode == "exact" else None,
                predictor=layer.predictor if mode == "predictor" else None,
                gate_bias=layer.gate_bias,
                down_bias=layer.down_bias,
            )
            predictor = layer.predictor if mode == "predictor" else None
            none = dict.fromkeys(("gate", "up", "down_t", "gate_bias", "down_bias"))
            layers.append(replace(layer, **none, predictor=predictor, feed_forward=source))
        config = replace(self.config, mode=mode.split("-")[0])
        weights = replace(self.weights, layers=tuple(layers))
        return fk.Decoder(config, weights, *self.pages(), activation_counts=counts), store


PAGES = np.arange(4, dtype=np.int32)
PROMPT = np.array([5, 17, 3, 80, 41, 2, 9], np.int32)


def generate(decoder: fk.Decoder, steps: int, between: Any = None) -> list[np.ndarray]:
    """Logits of a prompt and of greedy steps after it; `between(step)` runs before each step."""
    found = [decoder.prefill(PROMPT, 0, PAGES).logits]
    for step in range(steps):
        if between is not None:
            between(step)
        token = int(found[-1].argmax())
        found.append(decoder.step(token, len(PROMPT) + step, PAGES).logits)
    return found


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Bit for bit."""
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.tobytes() == other.tobytes(), f"call {index} differs by {np.abs(one - other).max()}"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Models by (hidden, bits): many bundles in a block, one in a block, one in several blocks."""
    made: dict[Any, Model] = {}

    def get(hidden: int, bits: int = 4, **options: Any) -> Model:
        key = (hidden, bits, *options.items())
        if key not in made:
            made[key] = Model(tmp_path_factory.mktemp("model"), hidden, bits, **options)
        return made[key]

    return get


SHAPES = [(64, 4), (64, 8), (1024, 8), (2048, 4), (2560, 4), (2048, 8), (4096, 8)]


@needs_native
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("hidden", "bits"), SHAPES)
def test_output_has_the_bits_of_the_same_rows_in_memory(models: Any, hidden: int, bits: int, mode: str) -> None:
    model = models(hidden, bits)
    expected = generate(model.memory(mode), 4)
    total = model.clusters * LAYERS
    for slots in sorted({1, 2, min(7, total), total // 2, total}):
        for hot in (0, model.neurons // 2):
            decoder, store = model.streamed(mode, slots, hot=hot)
            assert_same(generate(decoder, 4), expected)
            assert store.used <= store.slots == min(slots, total)


@needs_native
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("isa", fk.available_isas() or ["none"])
@pytest.mark.parametrize("activation", ["drelu", "relu", "swiglu"])
def test_so_it_has_on_every_instruction_set(models: Any, isa: str, mode: str, activation: str) -> None:
    fk.select(isa)
    fk.set_threads(2)
    model = models(2560, 4, activation=activation)
    expected = generate(model.memory(mode), 3)
    for options in ({}, {"uring": False, "direct": False, "threads": 2}, {"depth": 1, "run": 1}):
        decoder, _ = model.streamed(mode, 40, hot=64, **options)
        assert_same(generate(decoder, 3), expected)


@needs_native
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("hidden", "bits"), [(64, 4), (1024, 8), (2560, 4), (4096, 8)])
def test_networks_without_gate_have_two_rows_a_bundle(models: Any, hidden: int, bits: int, mode: str) -> None:
    model = models(hidden, bits, activation="relu", matrices=2)
    expected = generate(model.memory(mode), 4)
    total = model.clusters * LAYERS
    for slots in sorted({1, min(7, total), total // 2, total}):
        decoder, store = model.streamed(mode, slots, hot=model.neurons // 2)
        assert_same(generate(decoder, 4), expected)
        assert store.used <= store.slots == min(slots, total)


@needs_native
@given(st.data())
@examples(25)
def test_a_budget_that_shrinks_and_grows_changes_no_bit(models: Any, data: st.DataObject) -> None:
    hidden, bits = data.draw(st.sampled_from(SHAPES[:5]))
    mode = data.draw(st.sampled_from(MODES))
    model = models(hidden, bits)
    total = model.clusters * LAYERS
    expected = generate(model.memory(mode), 8)
    decoder, store = model.streamed(mode, data.draw(st.integers(1, total)), hot=data.draw(st.integers(0, 90)))
    sizes = data.draw(st.lists(st.integers(1, total), min_size=8, max_size=8))

    def resize(step: int) -> None:
        store.resize(sizes[step])
        assert store.slots == sizes[step] and store.used <= store.slots

    assert_same(generate(decoder, 8, resize), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("matrices", [2, 3])
def test_numpy_computes_the_same_up_to_the_order_of_sums(models: Any, mode: str, matrices: int) -> None:
    fk.select("numpy")
    model = models(64, 4, activation="relu", matrices=matrices)
    expected = generate(model.memory(mode), 3)
    for slots in (1, 5, model.clusters * LAYERS):
        decoder, store = model.streamed(mode, slots)
        found = generate(decoder, 3, lambda step, store=store: store.resize(1 + step))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def column(work: Any, name: str) -> int:
    """The sum of one field over layers."""
    return int(work[:, FIELDS.index(name)].sum())


@needs_native
def test_what_was_read_and_found_is_told(models: Any) -> None:
    model = models(2048, 4)
    decoder, _ = model.streamed("exact", model.clusters * LAYERS, run=1)
    first = decoder.step(7, 0, PAGES).work
    assert column(first, "misses") == column(first, "active") > 0
    assert column(first, "reads") * BLOCK == column(first, "read_bytes") == column(first, "misses") * BLOCK
    assert column(first, "stalled_ns") > 0 and column(first, "read_ns") > 0
    again = decoder.step(7, 0, PAGES).work
    assert column(again, "cold_hits") == column(again, "active") == column(first, "active")
    assert column(again, "misses") == column(again, "reads") == column(again, "read_bytes") == 0
    assert column(again, "computed") == LAYERS * model.neurons


@needs_native
@pytest.mark.parametrize("mode", MODES)
def test_a_prompt_takes_the_place_of_some_slots_and_gives_it_back(models: Any, mode: str) -> None:
    model = models(2048, 4)
    expected = generate(model.memory(mode), 3)
    shape = model.shape(resident_gates=mode == "exact")
    beside = shape.full_slots - shape.total_slots
    assert beside * shape.slot_bytes >= model.neurons * fk.packed_row_bytes(2048, 4)
    for slots in (beside, beside + 1, shape.total_slots - 1, shape.total_slots + 1, shape.full_slots):
        decoder, store = model.streamed(mode, slots)
        assert_same(generate(decoder, 3), expected)
        assert_same(generate(decoder, 3), expected)
        assert store.slots == slots
        assert store.used <= min(slots, shape.total_slots)
    decoder, store = model.streamed(mode, shape.full_slots)
    decoder.prefill(PROMPT, 0, PAGES)
    assert store.used == shape.total_slots, "with room for both nothing leaves"
    store.resize(shape.total_slots)
    decoder.prefill(PROMPT, 0, PAGES)
    assert store.used <= shape.total_slots - beside, "else a prompt's rows lie where neurons lay"


@needs_native
def test_reads_go_through_small_gaps_and_bring_what_was_asked_for(models: Any) -> None:
    model = models(2048, 4)
    total = model.clusters * LAYERS
    one_by_one, together = (model.streamed("exact", total, run=run) for run in (1, 8))
    single = one_by_one[0].step(7, 0, PAGES).work
    merged = together[0].step(7, 0, PAGES).work
    misses, reads, blocks = (column(merged, name) for name in ("misses", "reads", "read_bytes"))
    assert misses == column(single, "misses") and together[1].used == one_by_one[1].used
    assert reads < misses / 2 and misses * BLOCK < blocks <= min(8 * reads, total, 4 * misses) * BLOCK


@needs_native
def test_up_and_down_are_read_only_where_the_gate_is_not_zero(models: Any) -> None:
    """A bundle of two blocks: a silent neuron costs its first block only (PowerInfer-2, section 4.4)."""
    model = models(2560, 4)
    assert model.cluster_bytes == 2 * BLOCK
    decoder, store = model.streamed("predictor", model.clusters * LAYERS)
    work = decoder.step(7, 0, PAGES).work
    predicted, active = column(work, "predicted"), column(work, "active")
    assert 0 < active < predicted == column(work, "misses")
    asked, needed = store.guesses
    assert column(work, "read_bytes") == (predicted + asked - needed + active * 2) * BLOCK
    again = decoder.step(7, 0, PAGES).work
    assert column(again, "read_bytes") == 0, "a gate that is zero needs no second read"


@needs_native
def test_hot_groups_come_while_attention_is_computed_and_are_hit(models: Any) -> None:
    model = models(64, 4, neurons=64 * 16 * 3)
    total = model.clusters * LAYERS
    decoder, store = model.streamed("exact", total // 2, hot=64 * 16, hot_share=0.9)
    for position in range(4):
        work = decoder.step(position, position, PAGES).work
    assert column(work, "hot_hits") > 0
    assert store.used <= total // 2


@needs_native
def test_reads_are_asked_for_before_attention_and_are_those_that_are_needed(models: Any) -> None:
    model = models(2048, 4)
    total = model.clusters * LAYERS
    new, store = model.streamed("predictor", total)
    new.step(7, 0, PAGES)
    assert store.guesses == (0, 0), "a neuron that was never used, by the profile neither, is not asked for"
    decoder, store = model.streamed("predictor", total, hot=64, hot_share=0)
    work = decoder.step(7, 0, PAGES).work
    asked, needed = store.guesses
    # The first token's attention sees itself only, and adds little here: most of what it needs was foreseen.
    assert 0 < needed <= asked <= store.used
    assert needed > column(work, "misses") / 2
    assert column(work, "misses") == column(work, "predicted"), "what was guessed was read nevertheless"
    assert decoder.step(7, 0, PAGES).work.shape == work.shape
    assert store.guesses == (asked, needed), "what is there is not asked for"
    exact, other = model.streamed("exact-read-gates", total, hot=64, hot_share=0)
    exact.step(7, 0, PAGES)
    assert other.guesses == (0, 0), "without a predictor and without gates in memory there is nothing to guess by"


@needs_native
def test_gates_in_memory_tell_what_to_read_before_attention(models: Any) -> None:
    model = models(2048, 4)
    total = model.clusters * LAYERS
    new, store = model.streamed("exact", total)
    new.step(7, 0, PAGES)
    assert store.guesses == (0, 0), "a neuron that was never used, by the profile neither, is not asked for"
    decoder, store = model.streamed("exact", total, hot=64, hot_share=0)
    work = decoder.step(7, 0, PAGES).work
    asked, needed = store.guesses
    assert 0 < needed <= asked <= store.used
    assert column(work, "misses") == column(work, "active"), "what was guessed was read nevertheless"
    assert column(work, "read_bytes") > 0
    decoder.step(7, 0, PAGES)
    assert store.guesses == (asked, needed), "what is there is not asked for"


@needs_native
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("slots", [5, 40, 200])
def test_bits_do_not_depend_on_what_was_guessed(models: Any, mode: str, slots: int) -> None:
    model = models(2048, 4)
    expected = generate(model.memory(mode), 4)
    decoder, store = model.streamed(mode, slots, hot=64, hot_share=0)
    for _ in range(2):
        assert_same(generate(decoder, 4), expected)
    assert store.used <= slots


@needs_native
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 60), st.floats(0, 1)), max_size=300))
@examples(50)
def test_guesses_go_on_where_they_pay_and_rest_where_they_do_not(tokens: list[tuple[int, int, float]]) -> None:
    policy: Any = extension().LookAhead()  # type: ignore[union-attr]
    trial: list[tuple[int, int, int]] = []
    resting = 0
    for rows, asked, share in tokens:
        if len(trial) == 8:
            scored, wanted, needed = (sum(column) for column in zip(*trial, strict=True))
            resting, trial = (0 if 2 * needed >= wanted and needed > scored // 512 else 64), []
        assert policy.due() == (resting == 0)
        if resting:
            resting -= 1
            continue
        policy.guessed(rows, asked)
        trial.append((rows, asked, int(asked * share)))
        for _ in range(trial[-1][2]):
            policy.confirmed()


@needs_native
def test_activations_are_counted_by_neuron(models: Any) -> None:
    model = models(2560, 4)
    for mode in MODES:
        counted = [[np.zeros(model.neurons, np.int64) for _ in range(LAYERS)] for _ in range(2)]
        generate(model.memory(mode, counted[0]), 3)
        generate(model.streamed(mode, 11, counts=counted[1])[0], 3)
        np.testing.assert_array_equal(counted[0], counted[1])


@needs_native
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("uring", [True, False])
def test_after_a_failed_read_the_next_token_is_right(models: Any, tmp_path: Path, mode: str, uring: bool) -> None:
    model = Model(tmp_path, 2560, 4)
    expected = generate(model.memory(mode), 3)
    decoder, _ = model.streamed(mode, 40, hot=32, uring=uring)
    content, times = model.path.read_bytes(), os.stat(model.path)
    os.truncate(model.path, len(content) // 3)
    for _ in range(3):
        with pytest.raises(OSError, match=r"neurons\.bin.*offset"):
            generate(decoder, 3)
    model.path.write_bytes(content)
    os.utime(model.path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert_same(generate(decoder, 3), expected)


def block_of(model: Model, layer: int, neuron: int) -> tuple[int, int]:
    """The bytes of the file in which a neuron's bundle lies."""
    place = int(np.flatnonzero(model.orders[layer] == neuron)[0]) // model.together
    begin = (layer * model.clusters + place) * model.cluster_bytes
    return begin, begin + model.cluster_bytes


def walked(decoder: fk.Decoder) -> list[np.ndarray]:
    """Logits of some tokens one by one, so that only what fires is needed."""
    return [decoder.step(int(token), at, PAGES).logits for at, token in enumerate(PROMPT)]


@needs_native
@pytest.mark.parametrize(
    ("mode", "hidden", "bits", "uring"),
    [("exact", 1024, 8, True), ("exact", 2560, 4, False), ("exact", 4096, 8, True), ("predictor", 1024, 8, True)],
)
def test_a_bad_block_fails_only_tokens_that_need_it(
    tmp_path: Path, mode: str, hidden: int, bits: int, uring: bool
) -> None:
    model = Model(tmp_path, hidden, bits, activation="relu")
    for layer in model.weights.layers:
        layer.predictor.bias[::3] = -1e6  # never predicted
    counts = np.zeros((LAYERS, model.neurons), np.int64)
    expected = walked(model.memory(mode, counts))
    looked_at = counts > 0 if mode == "exact" else np.broadcast_to(np.arange(model.neurons) % 3 > 0, counts.shape)
    silent, used = (tuple(block_of(model, *one) for one in np.argwhere(which)) for which in (~looked_at, counts > 0))
    assert silent and used
    total = model.clusters * LAYERS
    for hot, slots in ((0, total), (64, total // 2)):
        decoder, _ = model.streamed(mode, slots, hot=hot, uring=uring, broken=silent)
        assert_same(walked(decoder), expected)
        assert_same(walked(decoder), expected)
        decoder, _ = model.streamed(mode, slots, hot=hot, uring=uring, broken=(used[len(used) // 2],))
        for _ in range(2):
            with pytest.raises(OSError, match=r"neurons\.bin: \d+ bytes at offset \d+ cannot be read") as caught:
                walked(decoder)
            assert caught.value.errno == errno.EIO


def test_in_numpy_too_a_bad_block_fails_only_who_needs_it(models: Any) -> None:
    fk.select("numpy")
    model = models(64, 8, activation="relu")
    counts = np.zeros((LAYERS, model.neurons), np.int64)
    expected = walked(model.memory("exact", counts))
    blocks = {block_of(model, layer, neuron) for layer, neuron in np.argwhere(counts > 0)}
    unused = {block_of(model, layer, neuron) for layer, neuron in np.argwhere(counts == 0)} - blocks
    decoder, _ = model.streamed("exact", 8, broken=tuple(unused))
    for one, other in zip(walked(decoder), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    decoder, _ = model.streamed("exact", 8, broken=(min(blocks),))
    with pytest.raises(OSError, match=r"\d+ bytes at offset \d+: Input/output error"):
        walked(decoder)


def test_what_does_not_fit_is_refused(models: Any, tmp_path: Path) -> None:
    model = models(64, 4)
    with pytest.raises(ValueError, match="slots: must be at least 1, got 0"):
        NeuronStore(model.path, model.shape(resident_gates=False), 0)
    with pytest.raises(FileNotFoundError):
        NeuronStore(tmp_path / "gone", model.shape(resident_gates=False), 4)
    short = tmp_path / "short"
    short.write_bytes(model.path.read_bytes()[: 2 * model.clusters * BLOCK])
    with pytest.raises(OSError, match="truncated"):
        NeuronStore(short, model.shape(resident_gates=False), 4)
    store = NeuronStore(model.path, model.shape(resident_gates=True), 4)
    gates = model.weights.layers[0].gate
    with pytest.raises(ValueError, match=r"order: must be int32 \[90\]"):
        store.feed_forward(0, model.orders[0][1:], "drelu", gates=gates)
    with pytest.raises(ValueError, match="gates: must be given exactly where"):
        store.feed_forward(0, model.orders[0], "drelu")
    with pytest.raises(ValueError, match="slots"):
        store.resize(0)
    with pytest.raises(ValueError, match="hot_share"):
        StreamOptions(hot_share=2)


@needs_native
def test_an_order_that_is_none_is_refused(models: Any) -> None:
    model = models(64, 4)
    store = NeuronStore(model.path, model.shape(resident_gates=False), 4)
    with pytest.raises(ValueError, match="order: must hold each neuron once"):
        store.feed_forward(0, np.zeros(90, np.int32), "drelu")
    assert extension() is not None
