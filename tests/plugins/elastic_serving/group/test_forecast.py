"""Pages that will be held in a moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_elastic_serving.group.forecast import Arrivals, Growing, Pace, coming, expected_left
from fairlead_elastic_serving.planning.overload import Demand, Watch, Wish, required

requests = st.lists(st.builds(Growing, st.integers(1, 500), st.integers(0, 500)), max_size=20)


def pages(tokens: int) -> int:
    return -(-tokens // 15)


@given(requests, st.floats(0, 500), st.floats(0, 3))
def test_requests_grow_or_end_and_never_take_more_than_they_may(
    running: list[Growing], pace: float, ahead: float
) -> None:
    found = coming(running, Arrivals(), pace, ahead, pages)
    most = sum(pages(one.tokens + one.left) - pages(one.tokens) for one in running)
    assert 0 <= found <= most


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 500)), max_size=30), st.floats(0, 500))
def test_who_came_in_the_last_second_comes_again_in_the_next(came: list[tuple[float, int]], pace: float) -> None:
    arrivals = Arrivals()
    arrivals.see(10.0, came)
    lately = [tokens for at, tokens in came if at > 9.0]
    assert sorted(arrivals.prompts) == sorted(lately)
    assert coming([], arrivals, pace, 1.0, pages) == sum(pages(tokens) for tokens in lately)
    arrivals.see(10.5, came)
    assert len(arrivals.prompts) == sum(at > 9.5 for at, _ in came), "nobody is counted twice"


def test_what_ends_soon_gives_its_pages_back() -> None:
    arrivals, running = Arrivals(), [Growing(150, 10), Growing(150, 400)]
    assert coming(running, arrivals, 100.0, 1.0, pages) == 0, "one ends, the other grows by less"
    assert coming(running[1:], arrivals, 100.0, 1.0, pages) == pages(250) - pages(150)
    arrivals.see(1.0, [(0.5, 30), (0.9, 60)])
    assert coming([], arrivals, 100.0, 1.0, pages, mean_answer=15.0) == pages(45) + pages(75)


@pytest.mark.parametrize(
    ("generated", "most", "mean", "left"),
    [(5, 100, None, 95), (5, 100, 20.0, 15), (30, 100, 20.0, 20), (95, 100, 20.0, 5)],
)
def test_expected_left(generated: int, most: int, mean: float | None, left: int) -> None:
    assert expected_left(generated, most, mean) == left


def test_pace_is_that_of_late() -> None:
    pace = Pace(share=1.0)
    assert pace.tokens_per_s == 0
    pace.see(1.0, 100)
    pace.see(1.0, 100)
    assert pace.tokens_per_s == pytest.approx(100)
    pace.see(2.0, 150)
    assert pace.tokens_per_s == pytest.approx(50)


def test_a_forecast_of_overload_is_a_reason_to_drop_if_it_lasts() -> None:
    watch, calm, rising = Watch(), Demand(60, 100, 100, (), 30), Demand(60, 100, 100, (), 50)
    assert required(rising) == 10
    assert [watch.see(demand) for demand in (rising, calm, rising)] == [Wish.NOTHING] * 3
    assert watch.see(rising) is Wish.DROP
    far = Watch()
    assert {far.see(Demand(20, 100, 100, (), 90)) for _ in range(5)} == {Wish.NOTHING}, "little is held as yet"


def test_layers_do_not_come_back_before_what_is_coming_fits() -> None:
    watch = Watch()
    assert [watch.see(Demand(40, 200, 100, (), 70)) for _ in range(3)] == [Wish.NOTHING] * 3
    assert watch.see(Demand(40, 200, 100, (), 50)) is Wish.RESTORE
