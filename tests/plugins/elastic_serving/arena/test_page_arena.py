"""One pool of pages for weights, keys and values: dropping, restoring, borrowed pages last."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_elastic_serving.arena.page_arena import PageArena
from fairlead_elastic_serving.errors import ElasticServingError, IntegrityError, OutOfPages


def uses(arena: PageArena, *held: np.ndarray) -> np.ndarray:
    return np.bincount(np.concatenate([np.zeros(0, int), *held]), minlength=arena.pages)


def test_a_dropped_layers_pages_serve_at_once_and_last() -> None:
    arena = PageArena(10, [3, 2])
    assert (arena.capacity, arena.free, list(arena.layer_range(1))) == (5, 5, [8, 9])
    arena.drop([1])
    assert (arena.capacity, arena.free, arena.free_borrowed) == (7, 7, 2)
    arena.drop([0])
    first = arena.take(6)
    assert set(first[:5]) == {0, 1, 2, 3, 4}
    assert first[5] == 8, "the layer that was dropped first lends first"
    arena.release(first[:2])
    assert set(arena.take(2)) == set(first[:2]), "own pages come before borrowed ones"
    arena.check(uses(arena, first))
    assert np.flatnonzero(arena.is_borrowed).tolist() == [5, 6, 7, 8, 9], "held or free, dropped or not"


def test_restoring_moves_what_stands_there_and_nothing_else() -> None:
    arena = PageArena(8, [2, 2])
    arena.drop([0, 1])
    held = arena.take(7)
    arena.retain(held[-1:])
    arena.release(held[:3])
    moves = arena.restore(1)
    assert set(moves.source) == {6} and set(moves.target) <= set(held[:3])
    assert arena.dropped == (0,)
    assert arena.holders(moves.target).tolist() == [2], "its holders came along"
    now = np.concatenate([held[3:6], moves.target, moves.target])
    arena.check(uses(arena, now))
    assert arena.capacity == 6


def test_a_layer_is_not_restored_into_nowhere() -> None:
    arena = PageArena(6, [3])
    arena.drop([0])
    held = arena.take(5)
    with pytest.raises(OutOfPages, match="2 pages are asked for and 0 are free"):
        arena.restore(0)
    arena.check(uses(arena, held))
    assert arena.dropped == (0,)


def test_evacuation_frees_the_layer_that_is_restored_first() -> None:
    arena = PageArena(8, [2, 2])
    arena.drop([0, 1])
    held = arena.take(8)
    arena.release(held[:1])
    moves = arena.evacuate(5)
    assert len(moves) == 1 and moves.source[0] in arena.layer_range(1)
    arena.release(moves.target)
    kept = np.setdiff1d(held[1:], moves.source)
    arena.check(uses(arena, kept))
    assert len(arena.evacuate(0)) == 0


def test_copies_are_made_of_shared_pages_only() -> None:
    arena = PageArena(4)
    held = arena.take(2)
    arena.retain(held[:1])
    moves = arena.own_copies(held)
    assert moves.source.tolist() == held[:1].tolist()
    arena.check(uses(arena, held, moves.target))


@pytest.mark.parametrize("layers", [[0, 0], [1]])
def test_layers_are_dropped_once(layers: list[int]) -> None:
    arena = PageArena(6, [1, 1])
    arena.drop([1])
    with pytest.raises(ElasticServingError, match="are dropped already"):
        arena.drop(layers)
    assert arena.dropped == (1,) and arena.free == 5


@pytest.mark.parametrize(("call", "message"), [(lambda arena: arena.drop([2]), "layer 2: accepted: 0 to 1"),
                                               (lambda arena: arena.restore(0), "layer 0 is not dropped")])  # fmt: skip
def test_layers_that_are_not_there_are_refused(call, message: str) -> None:
    with pytest.raises(ElasticServingError, match=message):
        call(PageArena(6, [1, 1]))


def test_misuse_is_found_and_changes_nothing() -> None:
    arena = PageArena(4)
    held = arena.take(2)
    with pytest.raises(IntegrityError, match=r"pages \[1\] are released more often"):
        arena.release(np.array([held[0], held[1], held[1]]))
    with pytest.raises(IntegrityError, match="shared though nobody holds them"):
        arena.retain(np.array([3]))
    with pytest.raises(OutOfPages):
        arena.take(3)
    arena.check(uses(arena, held))
    with pytest.raises(IntegrityError, match="not held as often as counted"):
        arena.check(uses(arena, held, held))


def test_layers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="accepted: at least 1"):
        PageArena(3, [2, 2])


def test_retired_pages_are_nobodys_until_they_are_revived() -> None:
    arena = PageArena(10, [3])
    held = arena.take(2)
    retired = arena.retire(4)
    assert (arena.capacity, arena.free, arena.used, arena.retired) == (3, 1, 2, 4)
    assert not np.isin(retired, held).any() and not arena.is_borrowed[retired].any()
    with pytest.raises(OutOfPages):
        arena.retire(2)
    arena.drop([0])
    assert arena.capacity == 6 and not np.isin(arena.take(4), retired).any()
    with pytest.raises(ElasticServingError, match="5 pages: accepted: up to 4"):
        arena.revive(5)
    arena.revive(3)
    assert (arena.own_capacity, arena.free, arena.retired) == (6, 3, 1)
    uses = np.zeros(10, int)
    uses[np.flatnonzero(arena.holders(np.arange(10)))] = 1
    arena.check(uses)
