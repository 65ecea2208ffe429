"""Every accelerator against our own kernels on the processor, over all activations and widths."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import fairlead_kernels as fk
from fairlead_sparse_inference.accelerators import Accelerator, AcceleratorUnavailable, HotNeurons, open_accelerator
from fairlead_sparse_inference.accelerators.interface import Network, Weights
from tests.plugins.kernels.cases import examples

F32 = NDArray[np.float32]
Make = Callable[[Network, Weights], Accelerator]
NEURONS = 30


def missing(*names: str) -> pytest.MarkDecorator:
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


def cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def triton(network: Network, weights: Weights) -> Accelerator:
    """On the GPU where there is one, else interpreted."""
    if not cuda():
        os.environ["TRITON_INTERPRET"] = "1"
    from fairlead_sparse_inference.accelerators.triton_accelerator import TritonAccelerator

    return TritonAccelerator(network, device="cuda" if cuda() else "cpu", weights=weights)


def onnx(network: Network, weights: Weights) -> Accelerator:
    return open_accelerator("onnxruntime", network, weights=weights, providers=["CPU"])


#: What computes, and how far it may lie from the processor's integer arithmetic: ONNX does not round activations.
DEVICES = [
    pytest.param(triton, "packed", 2e-6, id="triton-packed", marks=missing("torch", "triton")),
    pytest.param(triton, "bf16", 0.03, id="triton-bf16", marks=missing("torch", "triton")),
    pytest.param(onnx, "packed", 0.05, id="onnx-packed", marks=missing("onnx", "onnxruntime")),
    pytest.param(onnx, "bf16", 0.05, id="onnx-bf16", marks=missing("onnx", "onnxruntime")),
]


def neurons(network: Network, bits: int, *, gated: bool = True, count: int = NEURONS, seed: int = 1) -> HotNeurons:
    rng = np.random.default_rng(seed)
    matrices = [rng.standard_normal((count, network.hidden)).astype(np.float32) for _ in range(3)]
    gate, up, down = (fk.pack(matrix / np.float32(network.hidden**0.5), bits) for matrix in matrices)
    bias = None if gated else rng.standard_normal(count).astype(np.float32) / 4
    return HotNeurons(gate, up if gated else None, down, bias)


def tokens(network: Network, count: int, seed: int = 2) -> F32:
    return np.random.default_rng(seed).standard_normal((count, network.hidden)).astype(np.float32)


@pytest.fixture
def opened() -> Iterator[list[Accelerator]]:
    devices: list[Accelerator] = []
    yield devices
    for device in devices:
        device.close()


@pytest.mark.parametrize(("make", "weights", "tolerance"), DEVICES)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    ("activation", "threshold", "gated", "hidden"),
    [("drelu", 0.0, True, 512), ("relu", 0.1, False, 416), ("swiglu", 0.0, True, 64), ("geglu", 0.05, True, 64)],
)
def test_equals_the_processor(
    make: Make, weights: Weights, tolerance: float, bits: int, activation: str, threshold: float, gated: bool,
    hidden: int, opened: list[Accelerator],
) -> None:  # fmt: skip
    network = Network(hidden, activation, threshold)
    hot = neurons(network, bits, gated=gated)
    reference = open_accelerator("processor", network)
    device = make(network, weights)
    opened += [device, reference]
    reference.load(3, hot)
    device.load(3, hot)
    for count in (1, 9):
        x = tokens(network, count)
        expected, got = reference.compute(3, x), device.compute(3, x)
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())
        # A gate that is almost at its threshold may fall on either side.
        np.testing.assert_allclose(device.active[:count], reference.active[:count], atol=3)


@pytest.mark.parametrize(("make", "weights", "tolerance"), DEVICES)
def test_is_reproducible_and_keeps_layers_apart(
    make: Make, weights: Weights, tolerance: float, opened: list[Accelerator]
) -> None:
    network = Network(64)
    device = make(network, weights)
    opened.append(device)
    for layer in range(2):
        device.load(layer, neurons(network, 4, count=NEURONS * (layer + 1), seed=layer))
    x = tokens(network, 2)
    first = [device.compute(layer, x) for layer in (0, 1)]
    again = [device.compute(layer, x) for layer in (1, 0)]
    np.testing.assert_array_equal(first[0], again[1])
    np.testing.assert_array_equal(first[1], again[0])
    assert not np.array_equal(first[0], first[1])
    assert device.loaded_bytes > 0


@missing("torch", "triton")
@examples(8)
@given(
    hidden=st.sampled_from([32, 96, 160, 480, 544]),
    count=st.integers(1, 40),
    given_tokens=st.integers(1, 4),
    bits=st.sampled_from([4, 8]),
    scale=st.sampled_from([0.0, 1e-31, 1e-3, 1.0, 1e4]),
    seed=st.integers(0, 2**16),
)
def test_the_triton_kernels_are_the_reference(
    hidden: int, count: int, given_tokens: int, bits: int, scale: float, seed: int
) -> None:
    network = Network(hidden, "drelu")
    device, reference = triton(network, "packed"), open_accelerator("processor", network)
    hot = neurons(network, bits, count=count, seed=seed)
    x = tokens(network, given_tokens, seed) * np.float32(scale)
    for one in (device, reference):
        one.load(0, hot)
    expected, got = reference.compute(0, x), device.compute(0, x)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * np.abs(expected).max() + 1e-30)
    device.close()


@missing("torch", "triton")
def test_a_token_has_the_same_bits_alone_and_among_others(opened: list[Accelerator]) -> None:
    network = Network(512)
    device = triton(network, "packed")
    opened.append(device)
    device.load(0, neurons(network, 4))
    x = tokens(network, 9)
    together = device.compute(0, x)
    for index in (0, 8):
        np.testing.assert_array_equal(device.compute(0, x[index : index + 1])[0], together[index])


@missing("torch", "triton")
@pytest.mark.skipif(not cuda(), reason="no GPU")
def test_a_stream_that_others_set_changes_nothing(opened: list[Accelerator]) -> None:
    import torch

    network = Network(512)
    device = triton(network, "packed")
    opened.append(device)
    device.load(0, neurons(network, 4))
    x = tokens(network, 4)
    expected = device.compute(0, x)
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.randn(4096, 4096, device="cuda") @ torch.randn(4096, 4096, device="cuda")
        np.testing.assert_array_equal(device.compute(0, x), expected)


@missing("torch", "triton")
def test_packed_rows_take_on_the_device_what_they_take_in_memory(opened) -> None:
    network = Network(512)
    device, hot = triton(network, "packed"), neurons(network, 4)
    opened.append(device)
    device.load(0, hot)
    assert device.loaded_bytes == sum(matrix.nbytes for matrix in hot.matrices)


def test_mixed_matrices_are_refused() -> None:
    network = Network(64)
    four, eight = neurons(network, 4), neurons(network, 8)
    with pytest.raises(ValueError, match=r"down_t: \[30, 64\] of 8 bits; accepted: as gate, \[30, 64\] of 4 bits"):
        HotNeurons(four.gate, four.up, eight.down_t)
    empty = fk.PackedMatrix(four.gate.data[:0], 64, 4)
    with pytest.raises(ValueError, match="no rows"):
        HotNeurons(empty, None, empty)


def test_an_unknown_kind_names_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="kind = 'tpu': accepted: cuda, onnxruntime, processor"):
        open_accelerator("tpu", Network(64))


@missing("onnx", "onnxruntime")
def test_an_unknown_provider_names_those_that_there_are() -> None:
    with pytest.raises(AcceleratorUnavailable, match=r"providers: Qnnn: .*accepted: .*CPU"):
        open_accelerator("onnxruntime", Network(64), providers=["Qnnn"])


@missing("torch")
@pytest.mark.skipif(cuda(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(AcceleratorUnavailable, match=r"PyTorch .*accepted: a CUDA GPU"):
        open_accelerator("cuda", Network(64))


@pytest.mark.parametrize(
    ("kind", "module", "extra"), [("cuda", "torch", "gpu"), ("onnxruntime", "onnxruntime", "onnx")]
)
def test_what_is_not_installed_is_named(kind: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(AcceleratorUnavailable, match=rf"missing.*fairlead-sparse-inference\[{extra}\]"):
        open_accelerator(kind, Network(64))
