"""The kernels for unified pages against the reference of those who define the pages, on every ISA of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from tests.plugins.kernels.cases import each_isa, examples, needs_native

pytest.importorskip("fairlead_elastic_serving", reason="the pages' distribution is not installed")

from fairlead_elastic_serving.arena.formats import K4V2, K4V4, K8V4, K8V8, K16V16, K32V32, KVFormat, page_layout
from fairlead_elastic_serving.kernels import native_backend as native
from fairlead_elastic_serving.kernels import reference
from fairlead_elastic_serving.kernels.tiers import HIGH, LOW, Tiers
from tests.plugins.elastic_serving.kernels.mixed_pages import MixedPages, empty_pages, mixed_pages, write_arguments

pytestmark = needs_native
FORMATS = [K32V32, K16V16, K8V8, K8V4, K4V4, K4V2, KVFormat(2, 16), KVFormat(32, 2)]
CODED = 5e-4
"""How far logits may lie off where keys' codes are multiplied as bytes: queries are whole numbers of 15 bits then."""


def draw(random: np.random.Generator, high: KVFormat, low: KVFormat, head_dim: int, longest: int) -> MixedPages:
    """Three sequences of two KV heads; tiers of one may be empty."""
    counts = random.integers(0, longest, (3, 2, 2))
    counts[random.random(counts.shape) < 0.15] = 0
    need = max(form.token_bytes(head_dim) for form in (high, low))
    page_bytes = -(-need * int(random.integers(1, 20)) // 16) * 16 + 96
    return mixed_pages(Tiers.of(high, low, head_dim, page_bytes), counts, random)


@each_isa
@examples(12)
@given(
    high=st.sampled_from(FORMATS),
    low=st.sampled_from(FORMATS),
    head_dim=st.sampled_from([8, 16, 24, 64, 72, 128]),
    group=st.integers(1, 9),
    longest=st.sampled_from([5, 90, 1300]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_attention_and_scores(
    isa: str, high: KVFormat, low: KVFormat, head_dim: int, group: int, longest: int, threads: int, seed: int
) -> None:
    fk.select(isa)
    fk.set_threads(threads)
    random = np.random.default_rng(seed)
    mixed = draw(random, high, low, head_dim, longest)
    queries = random.normal(0, 0.5, (3, 2 * group, head_dim)).astype(np.float32)
    now = random.integers(0, 1500, 3).astype(np.int32)
    holders = random.integers(1, 3, len(mixed.pages)).astype(np.int32)
    stored = (mixed.tiers, mixed.tables, mixed.rows, mixed.counts)
    expected, total = reference.attend(queries, mixed.pages, *stored, head_dim**-0.5)
    before, found = mixed.pages.copy(), mixed.pages.copy()
    plain = native.attend(queries, found, *stored, head_dim**-0.5)
    assert (found == before).all(), "without `now` nothing is written"
    output, totals = native.attend(queries, found, *stored, head_dim**-0.5, now=now, holders=holders)
    assert (output == plain[0]).all() and (totals == plain[1]).all()
    near = CODED if min(high.key_bits, low.key_bits) < 16 else 3e-5
    assert np.allclose(output, expected, atol=near * max(1.0, float(np.abs(expected).max())))
    assert np.allclose(totals, total, atol=near, rtol=1e-5)
    reference.update_scores(queries, mixed.pages, *stored, head_dim**-0.5, now, holders)
    check_scores(mixed, before, found)


def check_scores(mixed: MixedPages, before: np.ndarray, found: np.ndarray) -> None:
    """Of every token the score is the reference's to some units of a float16, and all else is as it was."""
    for tier in (HIGH, LOW):
        for row in range(len(mixed.tables)):
            count = int(mixed.counts[row, tier])
            parts = [
                reference.read(pages, mixed.tiers, tier, mixed.tables[row], count)
                for pages in (mixed.pages, found, before)
            ]
            assert np.allclose(parts[1][2].astype(float), parts[0][2].astype(float), rtol=3e-3, atol=1e-5)
            for place in (0, 1, 3):
                assert np.array_equal(parts[1][place], parts[2][place])


@each_isa
@examples(12)
@given(
    form=st.sampled_from(FORMATS),
    head_dim=st.sampled_from([8, 16, 40, 64, 128]),
    group=st.integers(1, 5),
    lengths=st.lists(st.tuples(st.sampled_from([0, 3, 64, 600]), st.sampled_from([0, 1, 2, 33, 70])), max_size=4),
    window=st.one_of(st.none(), st.integers(1, 90)),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_chunks(
    isa: str,
    form: KVFormat,
    head_dim: int,
    group: int,
    lengths: list[tuple[int, int]],
    window: int | None,
    threads: int,
    seed: int,
) -> None:
    fk.select(isa)
    fk.set_threads(threads)
    random = np.random.default_rng(seed)
    counts = np.array([[[stored + chunk, 2]] * 2 for stored, chunk in [*lengths, (1, 1)]])
    mixed = mixed_pages(Tiers.of(form, K4V2, head_dim, 8 * form.token_bytes(head_dim) + 96), counts, random)
    starts = np.cumsum([0, *(chunk for _, chunk in lengths)], dtype=np.int32)
    stored = np.array([stored for stored, _ in lengths], np.int32)
    queries = random.normal(0, 0.7, (int(starts[-1]), 2 * group, head_dim)).astype(np.float32)
    arguments = (queries, starts, stored, mixed.pages, mixed.tiers, mixed.tables, mixed.rows[:-1], 0.2)
    sums = [
        [None if i == 1 else np.full((2 * group, sum(both)), 0.5, np.float32) for i, both in enumerate(lengths)]
        for _ in range(2)
    ]
    expected = reference.attend_chunks(*arguments, window=window, received=sums[0])
    found = native.attend_chunks(*arguments, window=window, received=sums[1])
    near = CODED if form.key_bits < 16 else 3e-5
    assert np.allclose(found[0], expected[0], atol=near * max(1.0, float(np.abs(expected[0]).max(initial=0))))
    assert np.allclose(found[1], expected[1], atol=near, rtol=1e-5)
    for one, other in zip(*sums, strict=True):
        assert (one is None and other is None) or np.allclose(one, other, atol=near, rtol=near)


@each_isa
@pytest.mark.parametrize("form", [K32V32, K16V16, K8V4], ids=str)
def test_a_token_has_its_bits_whatever_is_computed_beside_it(isa: str, form: KVFormat) -> None:
    fk.select(isa)
    random = np.random.default_rng(7)
    length = 1100
    mixed = mixed_pages(Tiers.of(form, K4V2, 64, 4096), np.full((2, 2, 2), length), random)
    queries = random.normal(0, 1, (length, 6, 64)).astype(np.float32)
    rows, view = mixed.rows, (mixed.pages, mixed.tiers, mixed.tables)
    whole = native.attend_chunks(queries, np.array([0, length], np.int32), np.zeros(1, np.int32), *view, rows[:1], 0.1)
    first = 0
    for threads, end in [(1, 1), (2, 500), (3, 1099), (2, 1100)]:
        fk.set_threads(threads)
        # Beside another sequence's decode.
        asked = np.concatenate([queries[first:end], queries[:1]])
        starts = np.array([0, end - first, end - first + 1], np.int32)
        part = native.attend_chunks(asked, starts, np.array([first, 40], np.int32), *view, rows, 0.1)
        for one, other in zip(part, whole, strict=True):
            assert np.array_equal(one[:-1], other[first:end])
        first = end
    counts = np.tile(np.array([length, 0], np.int32), (len(mixed.tables), 1))
    alone = native.attend(queries[-1:], *view, rows[:1], counts, 0.1)
    for one, other in zip(alone, whole, strict=True):
        assert np.array_equal(one[0], other[-1])


@each_isa
@pytest.mark.parametrize(
    ("high", "low", "head_dim"), [(K8V4, K4V2, 64), (K32V32, K16V16, 24), (K8V8, KVFormat(2, 4), 40)]
)
def test_writing_gives_the_bytes_of_the_reference(isa: str, high: KVFormat, low: KVFormat, head_dim: int) -> None:
    fk.select(isa)
    fk.set_threads(2)
    random = np.random.default_rng(2)
    tiers = Tiers.of(high, low, head_dim, 4096)
    mixed = empty_pages(tiers, random.integers(10, 50, (2, 2, 2)), random)
    found = mixed.pages.copy()
    for tier in (HIGH, LOW):
        arguments = write_arguments(mixed, tier, random)
        arguments[2][: len(arguments[2]) // 4] = -1.5  # no scale
        arguments[2][len(arguments[2]) // 2] += 900  # a zero point that is far from what it stands for
        arguments[3][-1, :, 0] = 1e6  # does not fit a float16
        reference.write(mixed.pages, tiers, tier, mixed.tables, *arguments)
        native.write(found, tiers, tier, mixed.tables, *arguments)
        rows, slots = np.arange(4, dtype=np.int32), random.integers(0, 10, 4).astype(np.int32)
        expected = reference.gather(mixed.pages, tiers, tier, mixed.tables, rows, slots)
        for one, other in zip(native.gather(found, tiers, tier, mixed.tables, rows, slots), expected, strict=True):
            assert np.array_equal(one, other) and one.dtype == other.dtype
        sources = np.array([3, -1, 5, 1], np.int32)
        targets = np.array([0, 2, 5, -1], np.int32)
        reference.copy_slots(mixed.pages, tiers, tier, mixed.tables, rows, sources, targets)
        native.copy_slots(found, tiers, tier, mixed.tables, rows, sources, targets)
    assert (found == mixed.pages).all()
    native.copy_pages(found, np.array([1], np.int32), np.array([0], np.int32))
    assert (found[0] == found[1]).all() and (found[1:] == mixed.pages[1:]).all()


@each_isa
def test_bookkeeping_is_what_is_stored(isa: str) -> None:
    fk.select(isa)
    random = np.random.default_rng(4)
    mixed = mixed_pages(Tiers.of(K8V4, K4V2, 16, 1024), random.integers(0, 60, (3, 2, 2)), random)
    rows = np.array([5, 0, 2], np.int32)
    for tier in (HIGH, LOW):
        counts = mixed.counts[rows]
        found = native.bookkeeping(mixed.pages, mixed.tiers, tier, mixed.tables, rows, counts)
        assert all(part.shape == (3, counts[:, tier].max()) for part in found)
        for place, row in enumerate(rows):
            count = int(counts[place, tier])
            *_, scores, positions = reference.read(mixed.pages, mixed.tiers, tier, mixed.tables[row], count)
            assert np.array_equal(found[0][place, :count], scores) and np.array_equal(
                found[1][place, :count], positions
            )
            number = np.arange(count) // mixed.tiers.layout(tier).tokens
            columns = mixed.tables.shape[1] - 1 - number if tier == LOW else number
            assert np.array_equal(found[2][place, :count], mixed.tables[row][columns])
            assert not any(part[place, count:].any() for part in found)
    with pytest.raises(IndexError, match="row 6 is outside"):
        native.bookkeeping(mixed.pages, mixed.tiers, HIGH, mixed.tables, np.full(3, 6, np.int32), counts)
    with pytest.raises(ValueError, match="counts: must be"):
        native.bookkeeping(mixed.pages, mixed.tiers, HIGH, mixed.tables, rows, mixed.counts)


def refused() -> Iterator[tuple[str, type[Exception], str, dict]]:
    """Calls with one argument that must not be taken: name, error, message, what is changed."""
    ok = np.zeros
    yield "another type of pages", ValueError, "accepted", {"pages": ok((4, 1024), np.int8)}
    yield "pages of another size", ValueError, "pages: must be", {"pages": ok((4, 512), np.uint8)}
    yield "float64 queries", ValueError, "accepted", {"queries": ok((1, 4, 16))}
    yield "strided queries", ValueError, "not contiguous", {"queries": ok((1, 4, 32), np.float32)[..., ::2]}
    yield "queries of another width", ValueError, "queries: must be", {"queries": ok((1, 4, 8), np.float32)}
    yield "heads that do not divide", ValueError, "multiple", {"queries": ok((1, 3, 16), np.float32)}
    yield "int64 tables", ValueError, "accepted", {"tables": ok((2, 4), np.int64)}
    yield "a row that is not there", IndexError, "row 2 is outside", {"rows": np.array([[0, 2]], np.int32)}
    yield "a negative row", IndexError, "row -1 is outside", {"rows": np.array([[-1, 0]], np.int32)}
    yield "a page that is not there", IndexError, "no page 4", {"tables": np.full((2, 4), 4, np.int32)}
    yield "a page of nothing", IndexError, "no page -1", {"tables": np.full((2, 4), -1, np.int32)}
    yield "counts beyond the table", IndexError, "room for 4", {"counts": np.full((2, 2), 30, np.int32)}
    yield "counts of the greatest size", IndexError, "room for 4", {"counts": np.full((2, 2), 2**31 - 1, np.int32)}
    yield "negative counts", IndexError, "fewer than no", {"counts": np.full((2, 2), -1, np.int32)}
    yield "counts of other rows", ValueError, "counts: must be", {"counts": ok((1, 2), np.int32)}
    yield "starts that fall", ValueError, "starts: must", {"starts": np.array([1, 0], np.int32)}
    yield "starts beyond the queries", ValueError, "starts: must", {"starts": np.array([0, 2], np.int32)}
    yield "a window without positions", ValueError, "positions: needed", {"window": 3}
    yield "no window", ValueError, "window 0", {"window": 0}
    yield "scores of many", ValueError, "now: must be", {"now": ok(2, np.int32)}
    yield "holders of other pages", ValueError, "holders: must be", {"holders": ok(3, np.int32)}


@pytest.mark.parametrize(
    ("name", "error", "message", "changed"), refused(), ids=lambda case: case if isinstance(case, str) else ""
)
def test_what_does_not_fit_is_refused(name: str, error: type[Exception], message: str, changed: dict) -> None:
    tiers = Tiers.of(K8V4, K4V2, 16, 1024)
    assert page_layout(K8V4, 16, 1024).tokens > 15
    given_arguments = {
        "queries": np.zeros((1, 4, 16), np.float32),
        "pages": np.zeros((4, 1024), np.uint8),
        "tiers": tiers,
        "tables": np.zeros((2, 4), np.int32),
        "rows": np.array([[0, 1]], np.int32),
        "counts": np.full((2, 2), 10, np.int32),
        "scale": 1.0,
    }
    if "room for 4" in message and changed["counts"].max() == 30:
        changed = {"counts": np.full((2, 2), 3 * tiers.low.tokens, np.int32)}
    native.attend(**given_arguments)
    with pytest.raises(error, match=message):
        native.attend(**{**given_arguments, **changed})


def test_writes_and_chunks_that_do_not_fit_are_refused_and_write_nothing() -> None:
    tiers = Tiers.of(K8V4, K4V2, 16, 1024)
    pages, tables = np.zeros((2, 1024), np.uint8), np.array([[0, 1]], np.int32)
    rows, one = np.zeros((2, 1), np.int32), np.ones((2, 1, 16), np.float32)
    rest = np.zeros((2, 1), np.float32), np.zeros(2, np.int32)
    beyond = 2 * tiers.high.tokens

    def write(slots: list[int], keys: np.ndarray = one, tier: int = HIGH) -> None:
        native.write(pages, tiers, tier, tables, rows, np.array(slots, np.int32)[:, None], keys, one, *rest)

    with pytest.raises(IndexError, match=f"no slot {beyond}"):
        write([0, beyond])
    with pytest.raises(ValueError, match="keys: an element of vector 1 is not finite"):
        write([0, 1], np.stack([one[0], np.full((1, 16), np.nan, np.float32)]))
    with pytest.raises(ValueError, match="tier: must be"):
        write([0, 1], tier=2)
    with pytest.raises(ValueError, match="values: must have"):
        native.write(pages, tiers, HIGH, tables, rows, rows, one, one[:1], *rest)
    assert not pages.any()
    write([-1, -5])
    assert not pages.any()
    view = (pages, tiers, tables)
    with pytest.raises(IndexError, match="no slot -1"):
        native.gather(*view[:2], HIGH, tables, np.zeros(1, np.int32), np.array([-1], np.int32))
    with pytest.raises(IndexError, match="outside"):
        native.copy_pages(pages, np.array([2], np.int32), np.array([0], np.int32))
    starts, before, queries = np.array([0, 2], np.int32), np.array([3], np.int32), np.ones((2, 1, 16), np.float32)
    with pytest.raises(IndexError, match="room for 2"):
        native.attend_chunks(queries, starts, np.array([beyond], np.int32), *view, rows[:1], 1.0)
    with pytest.raises(IndexError, match="at least 0"):
        native.attend_chunks(queries, starts, np.array([-1], np.int32), *view, rows[:1], 1.0)
    for wrong in (np.zeros((1, 4), np.float32), np.zeros((1, 5))):
        with pytest.raises(ValueError):
            native.attend_chunks(queries, starts, before, *view, rows[:1], 1.0, received=[wrong])
