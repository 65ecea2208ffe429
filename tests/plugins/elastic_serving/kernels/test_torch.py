"""The torch kernels against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_elastic_serving.arena.formats import K4V2, K8V4, K16V16, K32V32, KVFormat
from fairlead_elastic_serving.kernels import reference
from fairlead_elastic_serving.kernels.tiers import HIGH, LOW, Tiers
from tests.plugins.elastic_serving.kernels.mixed_pages import empty_pages, mixed_pages, write_arguments

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fairlead-elastic-serving[torch]'")
FORMATS = [(K8V4, K4V2, 64), (K32V32, K16V16, 24), (KVFormat(4, 8), KVFormat(2, 2), 16)]


@pytest.mark.parametrize(("high", "low", "head_dim"), FORMATS, ids=str)
def test_attention(high: KVFormat, low: KVFormat, head_dim: int) -> None:
    from fairlead_elastic_serving.kernels.torch_backend import attend

    random = np.random.default_rng(1)
    counts = random.integers(0, 100, (2, 2, 2))
    counts[0, 0], counts[1, 0, HIGH] = 0, 0
    mixed = mixed_pages(Tiers.of(high, low, head_dim, 4096), counts, random)
    queries = random.normal(0, 1, (2, 6, head_dim)).astype(np.float32)
    arrays = (mixed.tables, mixed.rows, mixed.counts)
    expected, total = reference.attend(queries, mixed.pages, mixed.tiers, *arrays, 0.25)
    tensors = [torch.from_numpy(array) for array in (queries, mixed.pages, *arrays)]
    output, found_total = attend(*tensors[:2], mixed.tiers, *tensors[2:], 0.25)
    assert np.allclose(output.numpy(), expected, atol=2e-5)
    assert np.allclose(found_total.numpy(), total, atol=2e-5)


@pytest.mark.parametrize(("high", "low", "head_dim"), FORMATS, ids=str)
def test_writing_gives_the_bytes_of_the_reference(high: KVFormat, low: KVFormat, head_dim: int) -> None:
    from fairlead_elastic_serving.kernels.torch_backend import gather, write

    random = np.random.default_rng(2)
    tiers = Tiers.of(high, low, head_dim, 4096)
    mixed = empty_pages(tiers, random.integers(10, 50, (2, 2, 2)), random)
    found = torch.from_numpy(mixed.pages.copy())
    for tier in (HIGH, LOW):
        arguments = write_arguments(mixed, tier, random)
        arguments[2][: len(arguments[2]) // 4] = -1.5  # no scale
        arguments[3][-1, :, 0] = 1e6  # does not fit a float16
        reference.write(mixed.pages, tiers, tier, mixed.tables, *arguments)
        write(found, tiers, tier, torch.from_numpy(mixed.tables), *map(torch.from_numpy, arguments))
        rows, slots = np.arange(4, dtype=np.int32), random.integers(0, 10, 4).astype(np.int32)
        expected = reference.gather(mixed.pages, tiers, tier, mixed.tables, rows, slots)
        read = gather(found, tiers, tier, *map(torch.from_numpy, (mixed.tables, rows, slots)))
        assert all(np.array_equal(one.numpy(), other) for one, other in zip(read, expected, strict=True))
    assert (found.numpy() == mixed.pages).all()
