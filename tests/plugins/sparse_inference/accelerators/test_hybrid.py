"""A decoder whose hot neurons an accelerator computes gives what the processor alone gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import fairlead_kernels as fk
from fairlead_kernels.hybrid import AcceleratedLayers
from fairlead_sparse_inference.accelerators import Accelerator, open_accelerator
from fairlead_sparse_inference.accelerators.interface import Network
from fairlead_sparse_inference.accelerators.processor import ProcessorAccelerator
from fairlead_sparse_inference.engine.hybrid_model import accelerated
from tests.plugins.kernels.cases import arena, config, each_backend, floats, layer, needs_native, table
from tests.plugins.sparse_inference.accelerators.test_accelerators import missing, onnx, triton

NEURONS, LAYERS = 150, 2
TOKENS = np.random.default_rng(1).integers(0, 96, 12).astype(np.int32)
FEED_FORWARD = ("gate", "up", "down_t")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    fk.select(None)


def model(c: fk.DecoderConfig, bits: int, *, threshold: float = 0.0) -> fk.DecoderWeights:
    """Random packed layers with random predictors."""
    rng = np.random.default_rng(7)
    stack: list[fk.LayerWeights] = []
    for _ in range(LAYERS):
        one = layer(rng, c, NEURONS)
        packed = {name: fk.pack(getattr(one, name).dequantize(), bits) for name in FEED_FORWARD}
        a, b = floats(rng, 32, c.hidden) / 8, floats(rng, NEURONS, 32) / 4
        guess = fk.Predictor(fk.pack(a, 8), fk.pack(b, 8), floats(rng, NEURONS) / 4, threshold)
        stack.append(replace(one, **packed, predictor=guess))
    return fk.DecoderWeights(fk.pack(floats(rng, c.vocabulary, c.hidden), bits), tuple(stack), None)


def masks(share: float) -> list[np.ndarray]:
    return [np.random.default_rng(index).random(NEURONS) < share for index in range(LAYERS)]


def network(c: fk.DecoderConfig) -> Network:
    return Network(c.hidden, c.activation, c.threshold)


def logits(
    c: fk.DecoderConfig, weights: fk.DecoderWeights, tokens: np.ndarray = TOKENS, singles: int = 4, several: int = 5
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A prompt's, single tokens', several sequences' logits; and the work of the steps."""
    decoder = fk.Decoder(c, weights, *arena(c))
    prompt = decoder.prefill(tokens, 0, table(), all_logits=True).logits
    results = [decoder.step(int(token), len(tokens) + at, table()) for at, token in enumerate(tokens[:singles])]
    steps = np.stack([one.logits for one in results])
    first = len(tokens) + singles
    many = decoder.step_many(TOKENS[:several], np.arange(first, first + several, dtype=np.int32), [table()] * several)
    return prompt, steps, many.logits, np.sum([one.work for one in results], axis=0)


def hybrid(c: fk.DecoderConfig, weights: fk.DecoderWeights, device: Accelerator, share: float) -> fk.DecoderWeights:
    return accelerated(weights, c, device, masks(share))


@each_backend
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("mode", ["exact", "predictor"])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_equals_the_processor_alone(choice: str, bits: int, mode: str, share: float) -> None:
    fk.select(choice)
    c = replace(config(), mode=mode)
    # A predictor that predicts all: whether the accelerator computes a neuron then makes no difference.
    weights = model(c, bits, threshold=-np.inf)
    expected = logits(c, weights)
    got = logits(c, hybrid(c, weights, ProcessorAccelerator(network(c)), share))
    for one, other in zip(got[:3], expected[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=0.05, atol=0.05)
    fields = fk.FIELDS.index("active") + 1
    np.testing.assert_allclose(got[3][:, :fields], expected[3][:, :fields], atol=4)


@each_backend
def test_in_predictor_mode_hot_neurons_are_computed_and_cold_ones_predicted(choice: str) -> None:
    fk.select(choice)
    c = replace(config(), mode="predictor")
    weights = model(c, 4, threshold=np.inf)
    device = ProcessorAccelerator(network(c))
    _, steps, _, work = logits(c, hybrid(c, weights, device, 0.3))
    hot = [int(mask.sum()) for mask in masks(0.3)]
    np.testing.assert_array_equal(work[:, fk.FIELDS.index("computed")], 4 * np.array(hot))
    none = logits(c, weights)[1]
    assert not np.allclose(steps, none)


@each_backend
def test_is_reproducible(choice: str) -> None:
    fk.select(choice)
    c = config()
    weights = hybrid(c, model(c, 4), ProcessorAccelerator(network(c)), 0.4)
    for one, other in zip(logits(c, weights)[:3], logits(c, weights)[:3], strict=True):
        np.testing.assert_array_equal(one, other)


@needs_native
@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        pytest.param(lambda n: triton(n, "packed"), 1e-3, id="triton", marks=missing("torch", "triton")),
        # Activations are not rounded there.
        pytest.param(lambda n: onnx(n, "packed"), 0.05, id="onnx", marks=missing("onnx", "onnxruntime")),
    ],
)
@pytest.mark.parametrize("bits", [4, 8])
def test_devices_equal_the_processor_alone(make, tolerance: float, bits: int) -> None:
    c = config()
    weights, device = model(c, bits), make(network(c))
    # Few tokens: an interpreter of GPU kernels is slow.
    expected = logits(c, weights, TOKENS[:4], 1, 2)
    got = logits(c, hybrid(c, weights, device, 0.4), TOKENS[:4], 1, 2)
    device.close()
    for one, other in zip(got[:3], expected[:3], strict=True):
        assert np.linalg.norm(one - other) < tolerance * np.linalg.norm(other)


@each_backend
def test_an_error_of_the_device_comes_out_and_the_decoder_lives_on(choice: str) -> None:
    fk.select(choice)
    c = config()

    class Breaks(ProcessorAccelerator):
        broken = True

        def wait(self) -> None:
            if self.broken:
                self._submitted = None
                raise RuntimeError("the device fell off the bus")
            super().wait()

    device = Breaks(network(c))
    decoder = fk.Decoder(c, hybrid(c, model(c, 4), device, 0.4), *arena(c))
    with pytest.raises(RuntimeError, match="fell off the bus"):
        decoder.step(1, 0, table())
    device.broken = False
    expected = fk.Decoder(c, hybrid(c, model(c, 4), ProcessorAccelerator(network(c)), 0.4), *arena(c))
    np.testing.assert_array_equal(decoder.step(1, 0, table()).logits, expected.step(1, 0, table()).logits)


def test_buffers_are_checked() -> None:
    c = config()
    with pytest.raises(ValueError, match=r"accelerator\.input"):
        AcceleratedLayers(open_accelerator("processor", Network(32)), c)


@each_backend
def test_a_list_of_neurons_names_cold_ones_only(choice: str) -> None:
    fk.select(choice)
    c = config()
    weights = hybrid(c, model(c, 8), ProcessorAccelerator(network(c)), 0.5)
    decoder, x = fk.Decoder(c, weights, *arena(c)), floats(np.random.default_rng(2), 1, c.hidden)
    cold = int((~masks(0.5)[0]).sum())
    decoder.feed_forward(0, x, np.array([0, cold - 1], np.int32))
    with pytest.raises(IndexError):
        decoder.feed_forward(0, x, np.array([cold], np.int32))


@needs_native
def test_an_accelerator_of_another_width_is_refused() -> None:
    fk.select("native")
    c, wide = config(), replace(config(), hidden=2 * config().hidden)
    other = hybrid(wide, model(wide, 8), ProcessorAccelerator(network(wide)), 0.5).layers[0].feed_forward
    weights = model(c, 8)
    layers = (replace(weights.layers[0], feed_forward=other, gate=None, up=None, down_t=None), weights.layers[1])
    with pytest.raises(ValueError, match="hidden size"):
        fk.Decoder(c, replace(weights, layers=layers), *arena(c))
