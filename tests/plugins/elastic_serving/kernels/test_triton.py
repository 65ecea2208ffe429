"""The Triton kernels against the reference: on a CUDA device where there is one, else in Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_elastic_serving.arena.allocation import Ring, fill
from fairlead_elastic_serving.arena.formats import K4V2, K4V4, K8V4, K8V8, K16V16, K32V32, KVFormat
from fairlead_elastic_serving.kernels import reference
from fairlead_elastic_serving.kernels.tiers import HIGH, LOW, Tiers
from tests.plugins.elastic_serving.kernels.mixed_pages import empty_pages, mixed_pages, write_arguments

FORMATS = [(K8V4, K4V2, 64), (K16V16, K16V16, 32), (K8V8, K4V4, 128), (KVFormat(4, 8), KVFormat(2, 2), 64)]


@pytest.mark.parametrize(
    ("high", "low", "head_dim", "group"),
    [(*formats, group) for formats, group in zip(FORMATS, [4, 2, 1, 8], strict=True)],
    ids=str,
)
def test_attention(device: str, high: KVFormat, low: KVFormat, head_dim: int, group: int) -> None:
    import torch

    from fairlead_elastic_serving.kernels.triton_backend.attention import Tuning, attend

    random = np.random.default_rng(group)
    counts = random.integers(0, 150, (2, 2, 2))
    counts[0, 0], counts[1, 0, HIGH], counts[1, 1, LOW] = 0, 0, 0
    mixed = mixed_pages(Tiers.of(high, low, head_dim, 4096), counts, random)
    queries = random.normal(0, 1, (2, 2 * group, head_dim)).astype(np.float32)
    arrays = (mixed.tables, mixed.rows, mixed.counts)
    expected, total = reference.attend(queries, mixed.pages, mixed.tiers, *arrays, head_dim**-0.5)
    on_device = [torch.from_numpy(array).to(device) for array in (queries, mixed.pages, *arrays)]
    output, found_total = attend(
        *on_device[:2],
        mixed.tiers,
        *on_device[2:],
        head_dim**-0.5,
        longest=mixed.longest,
        tuning=Tuning(block=64, programs=12, least=64),
    )
    # Queries, and weights times scales, are rounded to float16 for the tensor cores.
    assert np.abs(output.cpu().numpy() - expected).max() < 4e-3 * max(1.0, np.abs(expected).max())
    empty = np.isneginf(total)
    assert (np.isneginf(found_total.cpu().numpy()) == empty).all()
    assert np.abs(found_total.cpu().numpy()[~empty] - total[~empty]).max() < 4e-3


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_attention_of_narrow_queries(device: str, kind: str) -> None:
    import torch

    from fairlead_elastic_serving.kernels.triton_backend.attention import attend

    if device == "cpu" and kind == "bfloat16":
        pytest.skip("Triton's interpreter has no bfloat16 arithmetic")
    random = np.random.default_rng(9)
    mixed = mixed_pages(Tiers.of(K8V4, K4V2, 64, 4096), random.integers(1, 150, (2, 1, 2)), random)
    queries = torch.from_numpy(random.normal(0, 1, (2, 4, 64)).astype(np.float32)).to(getattr(torch, kind))
    arrays = (mixed.tables, mixed.rows, mixed.counts)
    expected, _ = reference.attend(queries.float().numpy(), mixed.pages, mixed.tiers, *arrays, 0.125)
    on_device = [torch.from_numpy(array).to(device) for array in (mixed.pages, *arrays)]
    output, _ = attend(queries.to(device), on_device[0], mixed.tiers, *on_device[1:], 0.125, longest=mixed.longest)
    assert output.dtype == queries.dtype
    assert np.abs(output.float().cpu().numpy() - expected).max() < 2e-2 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize(("high", "low", "head_dim"), FORMATS, ids=str)
def test_writing_gives_the_bytes_of_the_reference(device: str, high: KVFormat, low: KVFormat, head_dim: int) -> None:
    import torch

    from fairlead_elastic_serving.kernels.triton_backend.write import write

    random = np.random.default_rng(2)
    counts = random.integers(0, 50, (2, 2, 2))
    counts[0, 0] = 0
    tiers = Tiers.of(high, low, head_dim, 4096)
    mixed = empty_pages(tiers, counts, random)
    before = mixed.pages.copy()
    found = torch.from_numpy(mixed.pages.copy()).to(device)
    tables = torch.from_numpy(mixed.tables).to(device)
    for tier in (HIGH, LOW):
        arguments = write_arguments(mixed, tier, random)
        keys, values = arguments[2:4]
        keys[: len(keys) // 4] = 7.25  # no scale
        values[-1, :, 0] = 1e6  # does not fit a float16
        reference.write(mixed.pages, tiers, tier, mixed.tables, *arguments)
        write(found, tiers, tier, tables, *(torch.from_numpy(array).to(device) for array in arguments))
    assert (mixed.pages != before).any()
    assert (found.cpu().numpy() != mixed.pages).sum() == 0


@pytest.mark.parametrize(("head_dim", "group", "window"), [(32, 3, None), (64, 1, 11), (16, 4, None)])
def test_chunks(device: str, head_dim: int, group: int, window: int | None) -> None:
    import torch

    from fairlead_elastic_serving.kernels.backends import backend

    random = np.random.default_rng(head_dim)
    lengths = np.array([[5, 37], [60, 1], [0, 20], [3, 0]])
    tiers = Tiers.of(K16V16, K4V2, head_dim, 1024)
    mixed = mixed_pages(tiers, np.tile(lengths.sum(axis=1)[:, None, None], (1, 2, 2)) * [1, 0], random)
    starts, stored = np.cumsum([0, *lengths[:, 1]], dtype=np.int32), lengths[:, 0].astype(np.int32)
    queries = random.normal(0, 1, (starts[-1], 2 * group, head_dim)).astype(np.float32)
    kernels = backend(device, "triton")

    def compare(queries: np.ndarray, starts: np.ndarray, stored: np.ndarray, rows: np.ndarray) -> None:
        view = (mixed.pages, mixed.tables, np.ascontiguousarray(rows))
        expected = reference.attend_chunks(
            queries, starts, stored, view[0], tiers, *view[1:], head_dim**-0.5, window=window
        )
        tensors = [torch.from_numpy(array).to(device) for array in (queries, starts, stored, *view)]
        found = kernels.attend_chunks(*tensors[:4], tiers, *tensors[4:], head_dim**-0.5, window=window)
        for one, other in zip(found, expected, strict=True):
            assert np.abs(one.cpu().numpy() - other).max() < 4e-3 * max(1.0, np.abs(other).max())

    compare(queries, starts, stored, mixed.rows)
    # Of each sequence the last token alone, as text is generated.
    last = starts[1:-1] - 1
    compare(queries[last], np.arange(4, dtype=np.int32), lengths[:3].sum(axis=1).astype(np.int32) - 1, mixed.rows[:3])


def _rings(random: np.random.Generator, pages: int, own: int) -> tuple[Ring, Ring]:
    order = random.permutation(pages)
    rings = Ring(pages, order[:own]), Ring(pages, order[own:])
    for ring in rings:
        # Heads in the middle, so that the ends wrap.
        ring.give(ring.take(ring.count // 3))
    return rings


def test_allocation_and_recycling_on_the_device(device: str) -> None:
    import torch

    from fairlead_elastic_serving.kernels.triton_backend.allocation import DeviceRings

    random = np.random.default_rng(7)
    own, borrowed = _rings(random, 9000, 2500)
    is_borrowed = np.isin(np.arange(9000), borrowed.peek(9000))
    held = np.concatenate([own.take(60), borrowed.take(40)])
    rings = DeviceRings.of(own, borrowed, is_borrowed, device)
    asked = 2100
    expected = np.zeros((asked + 3, 12), np.int32)
    tables = torch.from_numpy(expected.copy()).to(device)
    for from_right in (False, True, False):
        rows = random.permutation(asked + 3)[:asked].astype(np.int32)
        first, counts = random.integers(0, 4, (2, asked)).astype(np.int32)
        rings.allocate(
            tables, *(torch.from_numpy(array).to(device) for array in (rows, first, counts)), from_right=from_right
        )
        total = int(counts.sum())
        if total <= own.count + borrowed.count:
            from_own = min(total, own.count)
            pages = np.concatenate([own.take(from_own), borrowed.take(total - from_own)])
            fill(expected, rows, first, counts, pages, from_right=from_right)
            assert rings.missing() == 0
        else:
            assert rings.missing() == total - own.count - borrowed.count
        assert (tables.cpu().numpy() == expected).all()
        assert rings.free() == own.count + borrowed.count
    assert rings.missing() > 0, "the last one is more than there is"
    rings.recycle(torch.from_numpy(np.concatenate([held, pages])).to(device))
    head, own_count, borrowed_head, borrowed_count, _ = rings.state.cpu().tolist()
    own_free = rings.own.cpu().numpy()[(head + np.arange(own_count)) % 9000]
    borrowed_free = rings.borrowed.cpu().numpy()[(borrowed_head + np.arange(borrowed_count)) % 9000]
    assert not is_borrowed[own_free].any() and is_borrowed[borrowed_free].all()
    assert sorted([*own_free, *borrowed_free]) == sorted([*own.peek(9000), *borrowed.peek(9000), *held, *pages])


def test_rings_that_are_not_the_arenas_are_refused(device: str) -> None:
    from fairlead_elastic_serving.kernels.triton_backend.allocation import DeviceRings

    own, borrowed = Ring(2, np.array([0, 1])), Ring(2, np.array([2]))
    with pytest.raises(ValueError, match=r"is_borrowed: pages \[1, 2\]: accepted"):
        DeviceRings.of(own, borrowed, np.array([False, True, False, True]), device)


def test_what_the_kernels_have_not_is_refused(device: str) -> None:
    from fairlead_elastic_serving.kernels.triton_backend.pages import layout_arguments

    with pytest.raises(ValueError, match="accepted by the Triton kernels: 2, 4, 8 and 16 bits"):
        layout_arguments(Tiers.of(K32V32, K4V2, 64, 4096).high)
    with pytest.raises(ValueError, match="powers of two"):
        layout_arguments(Tiers.of(K8V4, K4V2, 80, 4096).high)


def test_tensors_of_another_type_are_refused(device: str) -> None:
    import torch

    from fairlead_elastic_serving.kernels.triton_backend.pages import checked, views

    with pytest.raises(ValueError, match=r"rows: torch.int64 \(2,\); accepted: contiguous torch.int32 \['any'\]"):
        checked("rows", torch.zeros(2, dtype=torch.int64), torch.int32, None)
    with pytest.raises(ValueError, match="accepted: contiguous uint8"):
        views(torch.zeros((2, 64)))


@pytest.mark.parametrize(("high", "low", "head_dim"), FORMATS[:2], ids=str)
def test_scores_follow_what_is_attended_to(device: str, high: KVFormat, low: KVFormat, head_dim: int) -> None:
    import torch

    from fairlead_elastic_serving.kernels.triton_backend.attention import attend
    from fairlead_elastic_serving.kernels.triton_backend.scores import update_scores

    random = np.random.default_rng(11)
    counts = random.integers(1, 150, (2, 2, 2))
    counts[0, 1, HIGH], counts[1, 0, LOW] = 0, 0
    mixed = mixed_pages(Tiers.of(high, low, head_dim, 4096), counts, random)
    queries = random.normal(0, 1, (2, 8, head_dim)).astype(np.float32)
    now = np.array([149, 60], np.int32)
    before = mixed.pages.copy()
    arrays = (mixed.tables, mixed.rows, mixed.counts)
    found = torch.from_numpy(mixed.pages.copy()).to(device)
    holders = random.integers(1, 3, len(mixed.pages)).astype(np.int32)
    reference.update_scores(queries, mixed.pages, mixed.tiers, *arrays, 0.3, now, holders)
    shared = np.flatnonzero(holders > 1)
    assert (mixed.pages[shared] == before[shared]).all()
    on_device = [torch.from_numpy(array).to(device) for array in arrays]
    logits = torch.empty((2, 8, sum(mixed.longest)), device=device)
    _, totals = attend(
        torch.from_numpy(queries).to(device), found, mixed.tiers, *on_device, 0.3, longest=mixed.longest, logits=logits
    )
    update_scores(
        found,
        mixed.tiers,
        *on_device,
        logits,
        totals,
        torch.from_numpy(now).to(device),
        longest=mixed.longest,
        holders=torch.from_numpy(holders).to(device),
        block=64,
    )
    changed = 0
    for row, tier in np.ndindex(len(mixed.tables), 2):
        count = mixed.counts[row, tier]
        old, expected, scores = (
            reference.read(pages, mixed.tiers, tier, mixed.tables[row], count)[2].astype(np.float32)
            for pages in (before, mixed.pages, found.cpu().numpy())
        )
        assert np.allclose(scores, expected, rtol=2e-3, atol=2e-3)
        changed += int((old != scores).sum())
    assert changed > 20
    different = (found.cpu().numpy() != mixed.pages).sum()
    assert different <= 2 * changed, "only scores are written"


@pytest.mark.parametrize(("high", "low", "head_dim"), FORMATS, ids=str)
@pytest.mark.parametrize("tier", [HIGH, LOW])
def test_tokens_are_read_back_and_copied(device: str, high: KVFormat, low: KVFormat, head_dim: int, tier: int) -> None:
    import torch

    from fairlead_elastic_serving.kernels.triton_backend.move import copy_slots, read

    random = np.random.default_rng(13)
    mixed = mixed_pages(Tiers.of(high, low, head_dim, 4096), random.integers(20, 60, (3, 2, 2)), random)
    rows = random.permutation(6).astype(np.int32)
    sources, targets = (random.integers(0, 20, 6).astype(np.int32) for _ in range(2))
    expected = reference.gather(mixed.pages, mixed.tiers, tier, mixed.tables, rows, sources)
    found = torch.from_numpy(mixed.pages.copy()).to(device)
    tables, where, source, target = (
        torch.from_numpy(array).to(device) for array in (mixed.tables, rows, sources, targets)
    )
    for one, other in zip(read(found, mixed.tiers, tier, tables, where, source), expected, strict=True):
        assert np.allclose(one.cpu().numpy(), other, rtol=1e-6, atol=1e-6)
    source[0], sources[0] = -1, -1
    assert (read(found, mixed.tiers, tier, tables, where, source)[0][0] == 0).all()
    reference.copy_slots(mixed.pages, mixed.tiers, tier, mixed.tables, rows, sources, targets)
    copy_slots(found, mixed.tiers, tier, tables, where, source, target)
    assert (found.cpu().numpy() == mixed.pages).all()
