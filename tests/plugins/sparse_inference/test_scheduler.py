"""The scheduler never loses a page or a sequence, whatever comes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_language_model.graph import KVPages
from fairlead_language_model.sampling import SamplingParameters
from fairlead_sparse_inference.engine import QueueFull, Request, SparseModel
from fairlead_sparse_inference.engine.scheduler import Scheduler
from fairlead_sparse_inference.engine.sequence import Sequence

from .conftest import SHAPE

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 100), st.integers(1, 200)),
        st.tuples(st.just("admit"), st.just(0), st.just(0)),
        st.tuples(st.just("remove"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("fit"), st.integers(8, 40), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_pages_and_sequences_are_conserved(model: SparseModel, steps: list[tuple[str, int, int]]) -> None:
    scheduler = Scheduler(KVPages(model.config, 16, 16), max_sequences=3, max_waiting=4)
    known: list[Sequence] = []
    for kind, first, second in steps:
        if kind == "add":
            request = Request((0,) * first, SamplingParameters(), second)
            sequence = Sequence(request, model.tokenizer, frozenset(), SHAPE.context, lambda event: None, 0.0)
            try:
                scheduler.add(sequence)
            except QueueFull:
                assert len(scheduler.waiting) >= 4
            else:
                known.append(sequence)
        elif kind == "admit":
            scheduler.admit()
        elif kind == "remove" and known:
            scheduler.remove([known.pop(first % len(known))])
        elif kind == "fit":
            scheduler.fit(first)
        scheduler.pages.check((sequence.table for sequence in scheduler.active), scheduler.cache.held)
        assert {id(s) for s in (*scheduler.active, *scheduler.waiting)} == {id(s) for s in known}
        assert len(scheduler.active) <= 3
        assert all(not sequence.table.pages for sequence in scheduler.waiting)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 120), min_size=1, max_size=8))
def test_everyone_is_admitted_in_order_of_arrival(model: SparseModel, sizes: list[int]) -> None:
    scheduler = Scheduler(KVPages(model.config, 8, 16), max_sequences=2, max_waiting=8)
    sequences = [
        Sequence(
            Request((0,) * size, SamplingParameters(), 8), model.tokenizer, frozenset(), 128, lambda event: None, 0.0
        )
        for size in sizes
    ]
    for sequence in sequences:
        scheduler.add(sequence)
    admitted: list[Sequence] = []
    while len(admitted) < len(sequences):
        before = list(scheduler.active)
        scheduler.admit()
        admitted += [sequence for sequence in scheduler.active if sequence not in before]
        assert scheduler.active, "nobody can be admitted"
        scheduler.remove(scheduler.active[:1])
    assert admitted == sequences
