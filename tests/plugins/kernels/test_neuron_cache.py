"""The neuron cache's policy: invariants of the reference, and the native one step by step against it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairlead_kernels.backend import extension
from fairlead_kernels.reference_cache import COLD, FIXED, HOT, REGIONS, ReferenceCache

from .cases import examples, needs_native

LAYERS, CLUSTERS, GROUP = 2, 11, 3
ITEMS = range(LAYERS * CLUSTERS)
FIXED_GROUPS, HOT_GROUPS = (1, 0), (2, 3)
MINIMUM = 1 + 3

SIZES = st.tuples(st.integers(0, 26), st.integers(0, 26))
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.sampled_from(ITEMS)),
        st.tuples(st.just("group"), st.tuples(st.integers(0, LAYERS - 1), st.integers(0, 4))),
        st.tuples(st.just("fail"), st.sampled_from(ITEMS)),
        st.tuples(st.just("arrive"), st.none()),
        st.tuples(st.just("release"), st.none()),
        st.tuples(st.just("resize"), SIZES),
    ),
    max_size=80,
)


class Trace:
    """Applies actions to a cache as the engine would, and keeps what it answered."""

    def __init__(self, kind: Any, slots: int, hot_slots: int) -> None:
        self.cache = kind(LAYERS, CLUSTERS, GROUP, FIXED_GROUPS, HOT_GROUPS, slots, hot_slots)
        self.loading: set[int] = set()
        self.held: set[int] = set()
        self.looked = 0

    def apply(self, name: str, argument: Any) -> Any:
        """Do one action and return its answer."""
        return getattr(self, name)(argument)

    def use(self, item: int) -> int:
        self.looked += 1
        slot = self.cache.lookup(item)
        if slot < 0:
            slot = self.cache.admit(item)
            if slot >= 0:
                self.loading.add(item)
        if slot >= 0:
            self.held.add(item)
        return slot

    def group(self, place: tuple[int, int]) -> list[tuple[int, int]]:
        admitted = [tuple(each) for each in self.cache.admit_group(*place)]
        self.loading |= {item for item, _ in admitted}
        self.held |= {item for item, _ in admitted}
        return admitted

    def fail(self, item: int) -> None:
        if item in self.loading:
            self.cache.forget(item)
            self.loading.discard(item)
            self.held.discard(item)

    def arrive(self, _: None) -> None:
        for item in sorted(self.loading):
            self.cache.arrived(item)
        self.loading.clear()

    def release(self, _: None) -> None:
        self.cache.release()
        self.held.clear()

    def resize(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        self.arrive(None)
        self.held.clear()
        return [tuple(move) for move in self.cache.resize(max(size[0], MINIMUM), size[1])]

    def state(self) -> dict[int, tuple[int, str | None]]:
        """Slot and region of everything that is cached."""
        return {i: (self.cache.slot_of(i), self.cache.region(i)) for i in ITEMS if self.cache.slot_of(i) >= 0}


def check(trace: Trace) -> None:
    """What holds after every action."""
    state, cache = trace.state(), trace.cache
    slots = [slot for slot, _ in state.values()]
    assert len(set(slots)) == len(slots) == cache.used, "two items in one slot"
    assert all(0 <= slot < cache.slots for slot in slots), "a slot outside the budget"
    assert (trace.held | trace.loading) <= state.keys(), "a held item was evicted"
    assert sum(cache.hits) + cache.misses == trace.looked


@given(SIZES, ACTIONS)
@examples(300)
def test_no_slot_holds_two_items_and_held_ones_stay(size: tuple[int, int], actions: list[tuple[str, Any]]) -> None:
    trace = Trace(ReferenceCache, max(size[0], MINIMUM), size[1])
    for name, argument in actions:
        fixed = {item for item in ITEMS if trace.cache.region(item) == FIXED}
        before = trace.state()
        trace.apply(name, argument)
        check(trace)
        kept = trace.state().keys()
        assert name == "fail" or fixed <= kept, "the fixed region was evicted"
        if name == "resize" and len(before) <= trace.cache.slots and not trace.cache.evictions:
            assert kept == before.keys()


@needs_native
@given(SIZES, ACTIONS)
@examples(300)
def test_native_and_reference_agree_step_by_step(size: tuple[int, int], actions: list[tuple[str, Any]]) -> None:
    start = (max(size[0], MINIMUM), size[1])
    expected, found = Trace(ReferenceCache, *start), Trace(extension().NeuronCache, *start)
    for name, argument in actions:
        assert found.apply(name, argument) == expected.apply(name, argument), name
        check(found)
        assert found.state() == expected.state()
    assert found.cache.hits == expected.cache.hits
    assert (found.cache.misses, found.cache.evictions) == (expected.cache.misses, expected.cache.evictions)


@needs_native
def test_native_and_reference_agree_on_a_long_text_while_the_size_changes() -> None:
    text = tokens_of(3, 90)
    sizes = (NEURONS, 220, 90, 150, NEURONS, 60)
    shape = (2, NEURONS // 2, 8, [1, 0], [3, 4])
    expected, found = (kind(*shape, sizes[0], 40) for kind in (ReferenceCache, extension().NeuronCache))
    for place, size in enumerate(sizes):
        assert [tuple(move) for move in found.resize(size, 40)] == expected.resize(size, 40)
        for token in text[15 * place : 15 * place + 15]:
            for cache in (expected, found):
                serve(cache, token)
            assert found.misses == expected.misses
        assert cached(found, NEURONS) == cached(expected, NEURONS)
    assert found.evictions == expected.evictions > 0


CACHES = [ReferenceCache, pytest.param("native", marks=needs_native)]


@pytest.fixture(params=CACHES)
def kind(request: pytest.FixtureRequest) -> Any:
    """The reference, then the native policy."""
    return extension().NeuronCache if request.param == "native" else request.param


def load(cache: Any, items: list[int]) -> None:
    """Bring items in one after the other."""
    for item in items:
        if cache.lookup(item) < 0:
            assert cache.admit(item) >= 0
            cache.arrived(item)
        cache.release()


def cached(cache: Any, items: int) -> list[int]:
    """What lies in a slot, in order."""
    return [item for item in range(items) if cache.slot_of(item) >= 0]


def test_of_equally_used_cold_clusters_the_least_recent_goes(kind: Any) -> None:
    cache = kind(1, 10, 1, [0], [0], 3, 0)
    load(cache, [0, 1, 2, 3])
    assert cached(cache, 10) == [1, 2, 3]
    assert cache.evictions == 1


def test_an_often_used_cold_cluster_stays_while_rare_ones_pass(kind: Any) -> None:
    cache = kind(1, 40, 1, [0], [0], 3, 0)
    load(cache, [0] * 6 + [1] * 6 + list(range(10, 30)))
    assert cached(cache, 40) == [0, 1, 29]


def test_a_cluster_that_was_evicted_keeps_its_count(kind: Any) -> None:
    cache = kind(1, 10, 1, [0], [0], 1, 0)
    load(cache, [0, 0, 0, 1])
    cache.resize(2, 0)
    load(cache, [0, 2])
    assert cached(cache, 10) == [0, 2]


def test_clusters_that_the_profile_calls_hot_stay_longest_at_first(kind: Any) -> None:
    cache = kind(1, 10, 1, [0], [2], 3, 0)
    load(cache, [0, 1, 5, 6, 6, 7])
    assert cached(cache, 10) == [0, 1, 7]


def test_what_was_counted_with_room_for_everything_decides_when_it_shrinks(kind: Any) -> None:
    cache = kind(1, 8, 1, [0], [0], 8, 0)
    load(cache, [1, 1, 4, 4, 0, 2, 3, 5, 6, 7])
    cache.resize(2, 0)
    assert cached(cache, 8) == [1, 4]


NEURONS, TOKENS, SLOTS = 400, 400, 220


def tokens_of(seed: int, count: int) -> list[NDArray[np.intp]]:
    """What each token needs of neurons of skewed frequency (a tenth on average), in a shuffled order."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-3.3, 2.0, NEURONS)
    return [np.flatnonzero(rng.random(NEURONS) < 1 / (1 + np.exp(-odds))) for _ in range(count)]


def serve(cache: Any, token: NDArray[np.intp]) -> None:
    """Look up and bring in what a token needs, held together while there is room."""
    for item in token.tolist():
        if cache.lookup(item) < 0:
            if cache.admit(item) < 0:
                cache.release()
                assert cache.admit(item) >= 0
            cache.arrived(item)
    cache.release()


def misses_of(cache: Any, tokens: list[NDArray[np.intp]]) -> int:
    """Misses of a cache on a text, a token's neurons held together."""
    before = cache.misses
    for token in tokens:
        serve(cache, token)
    return cache.misses - before


def least_recent_misses(tokens: list[NDArray[np.intp]]) -> int:
    """Misses in the second half of a text where the least recently used item goes."""
    recent: OrderedDict[int, None] = OrderedDict()
    missed = 0
    for place, token in enumerate(tokens):
        for item in token.tolist():
            missed += item not in recent and place >= len(tokens) // 2
            recent[item] = None
            recent.move_to_end(item)
            if len(recent) > SLOTS:
                recent.popitem(last=False)
    return missed


def test_skewed_use_misses_clearly_less_than_by_least_recent_use(kind: Any) -> None:
    tokens = tokens_of(1, TOKENS)
    cache = kind(1, NEURONS, 1, [0], [0], SLOTS, 0)
    misses_of(cache, tokens[: TOKENS // 2])
    assert misses_of(cache, tokens[TOKENS // 2 :]) < 0.8 * least_recent_misses(tokens)


def test_counts_follow_a_change_of_subject(kind: Any) -> None:
    cache = kind(1, NEURONS, 1, [0], [0], SLOTS, 0)
    misses_of(cache, tokens_of(1, TOKENS))
    other = tokens_of(2, TOKENS)
    first = misses_of(cache, other[:50])
    misses_of(cache, other[50 : TOKENS // 2])
    assert misses_of(cache, other[-50:]) < 0.5 * first
    assert misses_of(cache, other[TOKENS // 2 :]) < 0.85 * least_recent_misses(other)


def test_a_hot_group_comes_and_stays_whole_while_cold_ones_pass(kind: Any) -> None:
    cache = kind(1, 12, 4, [0], [1], 6, 4)
    load(cache, [2])
    assert [item for item, _ in cache.admit_group(0, 0)] == [0, 1, 3], "the cold member changes over"
    for item in (0, 1, 3):
        cache.arrived(item)
    load(cache, [5, 6, 7, 8, 9, 10])
    assert {cache.region(item) for item in range(4)} == {HOT}
    assert cache.admit_group(0, 1) == [], "not a hot group"


def test_shrinking_keeps_fixed_then_best_hot_groups_and_recent_cold(kind: Any) -> None:
    cache = kind(1, 16, 2, [1], [3], 14, 6)
    for group in range(4):
        for item, _ in cache.admit_group(0, group):
            cache.arrived(item)
    load(cache, [10, 11, 12, 13, 10])
    cache.resize(7, 4)
    regions = {item: cache.region(item) for item in range(16) if cache.region(item)}
    assert regions == {0: FIXED, 1: FIXED, 2: HOT, 3: HOT, 4: HOT, 5: HOT, 10: COLD}


def test_growing_keeps_everything_and_makes_room(kind: Any) -> None:
    cache = kind(1, 8, 1, [0], [0], 2, 0)
    load(cache, [0, 1])
    assert cache.resize(4, 0) == []
    load(cache, [2, 3])
    assert all(cache.slot_of(item) >= 0 for item in range(4))


def test_hits_are_counted_by_region(kind: Any) -> None:
    cache = kind(1, 6, 1, [1], [1], 4, 1)
    for group in range(2):
        for item, _ in cache.admit_group(0, group):
            cache.arrived(item)
    load(cache, [5])
    for item in (0, 0, 1, 5, 5, 5, 4):
        cache.lookup(item)
    assert dict(zip(REGIONS, cache.hits, strict=True)) == {FIXED: 2, HOT: 1, COLD: 3}
    assert cache.misses == 2


def test_bad_sizes_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="at least 4"):
        kind(LAYERS, CLUSTERS, GROUP, FIXED_GROUPS, HOT_GROUPS, MINIMUM - 1, 0)
    with pytest.raises(ValueError, match="one entry a layer"):
        kind(2, 4, 1, [0], [0, 0], 4, 0)
    cache = kind(1, 4, 1, [0], [0], 4, 0)
    with pytest.raises(ValueError, match="at least 1"):
        cache.resize(0, 0)
    cache.admit(0)
    with pytest.raises(RuntimeError, match="loading"):
        cache.resize(2, 0)
