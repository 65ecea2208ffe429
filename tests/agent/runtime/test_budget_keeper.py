"""Who shrinks when the device runs short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.runtime.budget_keeper import STEP_BYTES, Share, targets

MIB = 1 << 20


def share(name: str, promised: int, minimum: int, limit: int | None = None, cost: float = 0.0) -> Share[str]:
    return Share(name, (promised if limit is None else limit) * MIB, minimum * MIB, promised * MIB, cost)


def test_nothing_moves_while_there_is_room() -> None:
    assert targets([share("a", 100, 50), share("b", 100, 50)], 200 * MIB) == {}


def test_the_cheapest_byte_goes_first() -> None:
    moved = targets([share("dear", 100, 20, cost=0.5), share("cheap", 100, 20, cost=0.1)], 150 * MIB)
    assert moved == {"cheap": 50 * MIB}


def test_the_next_one_gives_when_the_first_is_at_its_minimum() -> None:
    moved = targets([share("dear", 100, 20, cost=0.5), share("cheap", 100, 20, cost=0.1)], 90 * MIB)
    assert moved == {"cheap": 20 * MIB, "dear": 70 * MIB}


def test_nobody_falls_below_the_minimum() -> None:
    assert targets([share("a", 100, 60), share("b", 100, 60)], 10 * MIB) == {"a": 60 * MIB, "b": 60 * MIB}


def test_they_grow_back_when_there_is_room_again() -> None:
    assert targets([share("a", 100, 20, limit=20)], 400 * MIB) == {"a": 100 * MIB}


def test_small_differences_move_nothing() -> None:
    assert targets([share("a", 100, 20)], 98 * MIB) == {}


amounts = st.integers(0, 4096)


@given(st.lists(st.tuples(amounts, amounts, amounts, st.floats(0, 10)), max_size=8), amounts)
def test_limits_fit_or_everyone_is_at_the_minimum(rows: list[tuple[int, int, int, float]], capacity: int) -> None:
    shares = [share(str(i), p, m, limit, cost) for i, (p, m, limit, cost) in enumerate(rows)]
    moved = targets(shares, capacity * MIB)
    after = {s.name: moved.get(s.name, s.limit_bytes) for s in shares}
    for each in shares:
        if each.name in moved:
            assert min(each.minimum_bytes, each.promised_bytes) <= moved[each.name] <= each.promised_bytes
    floors = sum(min(s.minimum_bytes, s.promised_bytes) for s in shares)
    assert sum(after.values()) <= max(capacity * MIB, floors) + STEP_BYTES * len(shares)
