from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_bridge.emulator.conditions import Conditions, ConditionsError, Losses
from fairlead_bridge.emulator.direction import Direction
from fairlead_bridge.emulator.trace import RateTrace

shares = st.sampled_from([0.0, 0.1, 0.6, 1.0])
traces = st.sampled_from(
    [None, RateTrace.constant(1e6), RateTrace.of((0, 1, 1.5), (2e6, 0, 3e5)), RateTrace.of((0, 0.3), (1e4, 5e7))]
)
conditions = st.builds(
    Conditions,
    rate=traces,
    delay_s=st.sampled_from([0.0, 0.02, 1.0]),
    jitter_s=st.sampled_from([0.0, 0.01]),
    loss=shares,
    loss_burst=st.sampled_from([None, 3.0]),
    reordering=shares,
    queue_bytes=st.sampled_from([1, 3000, 10**6]),
)
#: Packets as (seconds after the one before, bytes).
arrivals = st.lists(st.tuples(st.floats(0, 0.05), st.integers(20, 1500)), max_size=60)


def passed(
    conditions: Conditions, offers: list[tuple[float, int]], seed: int = 1, start_s: float = 100.0
) -> tuple[Direction, list[tuple[int, float, float]]]:
    """All packets through; each that arrived as (number, when it was offered, when it arrived)."""
    direction = Direction(conditions, Random(seed), start_s)
    now_s = start_s
    offered: list[float] = []
    arrived: list[tuple[int, float, float]] = []

    def drain(until_s: float) -> None:
        while (at_s := direction.next_s) is not None and at_s <= until_s:
            for packet in direction.take(at_s):
                number = int.from_bytes(packet[:4], "big")
                arrived.append((number, offered[number], at_s))

    for number, (gap_s, size) in enumerate(offers):
        now_s += gap_s
        drain(now_s)
        offered.append(now_s)
        direction.offer(number.to_bytes(4, "big") + bytes(size - 4), now_s)
    drain(1e12)
    direction.take(1e12)
    return direction, arrived


@settings(derandomize=True, max_examples=40, deadline=None)
@given(conditions, arrivals)
def test_no_packet_is_made_or_forgotten(conditions: Conditions, offers: list[tuple[float, int]]) -> None:
    direction, arrived = passed(conditions, offers)
    counts = direction.counts
    assert counts.offered == len(offers) == counts.delivered + counts.lost + counts.dropped
    assert counts.delivered == len(arrived) == len({number for number, _, _ in arrived})
    assert counts.under_way == 0 and direction.waiting_bytes == 0
    assert all(at_s >= offered_s for _, offered_s, at_s in arrived)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(conditions.filter(lambda item: item.reordering == 0), arrivals)
def test_packets_keep_their_order(conditions: Conditions, offers: list[tuple[float, int]]) -> None:
    _, arrived = passed(conditions, offers)
    assert [number for number, _, _ in arrived] == sorted(number for number, _, _ in arrived)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(traces.filter(bool), st.sampled_from([0.0, 0.02]), arrivals)
def test_between_two_arrivals_no_more_comes_than_the_rate_lets_through(
    rate: RateTrace, delay_s: float, offers: list[tuple[float, int]]
) -> None:
    _, arrived = passed(Conditions(rate, delay_s), offers)
    for first in range(0, len(arrived), 3):
        bits = 0
        for (_, _, _), (number, _, at_s) in pairwise(arrived[first:]):
            bits += offers[number][1] * 8
            since = arrived[first][2] - 100 - delay_s
            assert bits <= (rate.passed(at_s - 100 - delay_s) - rate.passed(since)) + 1


@settings(derandomize=True, max_examples=30, deadline=None)
@given(conditions, arrivals, st.integers(0, 5))
def test_a_seed_decides_everything(conditions: Conditions, offers: list[tuple[float, int]], seed: int) -> None:
    assert passed(conditions, offers, seed)[1] == passed(conditions, offers, seed)[1]


def test_a_full_queue_drops_and_an_empty_one_takes_any_packet() -> None:
    direction = Direction(Conditions(RateTrace.constant(8000), queue_bytes=1000), Random(1), 0.0)
    assert [direction.offer(bytes(1500), 0.0), direction.offer(bytes(500), 0.0)] == [True, False]
    assert direction.offer(bytes(1000), 1.5) is True
    assert direction.take(2.4) == [bytes(1500)] and direction.next_s == pytest.approx(2.5)


def test_delay_and_jitter_are_those_asked_for() -> None:
    spaced = [(5.0, 100)] * 4000
    _, arrived = passed(Conditions(delay_s=0.5, jitter_s=0.05), spaced)
    delays = [at_s - offered_s for _, offered_s, at_s in arrived]
    mean = sum(delays) / len(delays)
    deviation = (sum((delay - mean) ** 2 for delay in delays) / len(delays)) ** 0.5
    assert mean == pytest.approx(0.5, abs=0.004) and deviation == pytest.approx(0.05, rel=0.06)


@pytest.mark.parametrize("burst", [None, 4.0])
def test_losses_have_their_share_and_their_bursts(burst: float | None) -> None:
    losses = Losses(Conditions(loss=0.1, loss_burst=burst), Random(3))
    lost = [losses.next() for _ in range(40_000)]
    bursts = sum(now and not before for before, now in pairwise([False, *lost]))
    assert sum(lost) / len(lost) == pytest.approx(0.1, rel=0.1)
    assert sum(lost) / bursts == pytest.approx(burst or 1 / 0.9, rel=0.1)


def test_a_share_of_packets_overtakes() -> None:
    _, arrived = passed(Conditions(delay_s=1.0, reordering=0.25), [(0.01, 100)] * 2000)
    early = sum(at_s - offered_s < 0.5 for _, offered_s, at_s in arrived)
    assert early == pytest.approx(500, abs=100)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Conditions(loss=1.5), "loss: 1.5; accepted: a share"),
        (lambda: Conditions(delay_s=float("nan")), "delay_s: nan; accepted: 0 to 3600 s"),
        (lambda: Conditions(loss=0.1, loss_burst=0.5), "loss_burst: 0.5; accepted: 1 packet or more"),
        (lambda: Conditions(queue_bytes=0), "queue_bytes: 0"),
    ],
)
def test_what_no_link_does_is_refused(make: Callable[[], Conditions], words: str) -> None:
    with pytest.raises(ConditionsError, match=words):
        make()
