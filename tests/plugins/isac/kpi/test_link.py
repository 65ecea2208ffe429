"""What a schedule leaves of a link."""

from __future__ import annotations

import pytest

from fairlead_isac.kpi.link import LEAST_BITS_PER_S, MOST_WAIT_S, link

SLOT_S = 125e-6


def test_an_idle_link_waits_for_a_slot_and_a_packet() -> None:
    idle = link(1e9, 0.0, SLOT_S, 0.0)
    assert idle.free_bits_per_s == 1e9
    assert idle.latency_s == pytest.approx(1.5 * SLOT_S + 12e-6)


def test_sensing_leaves_less_and_later() -> None:
    before, after = link(1e9, 4e8, SLOT_S, 0.0), link(5e8, 4e8, SLOT_S, 0.5)
    assert (before.free_bits_per_s, after.free_bits_per_s) == (6e8, 1e8)
    assert after.latency_s > 1.9 * before.latency_s


def test_the_queue_is_that_of_poisson_arrivals() -> None:
    packet_s, load = 12e3 / 1e6, 0.8
    found = link(1e6, 8e5, 1e-9, 0.0).latency_s
    assert found == pytest.approx(packet_s + packet_s * load / (2 * (1 - load)), rel=1e-6)


def test_a_full_link_is_slow_but_finite() -> None:
    full = link(1e6, 2e6, SLOT_S, 0.9)
    assert full.free_bits_per_s == LEAST_BITS_PER_S
    assert MOST_WAIT_S < full.latency_s < MOST_WAIT_S + 0.1
    assert link(0.0, 0.0, SLOT_S, 1.0).latency_s < 100


def test_what_was_measured_to_wait_counts_where_it_is_more_than_the_model_has() -> None:
    modelled = link(1e7, 5e6, 0.5e-3, 0.0)
    assert link(1e7, 5e6, 0.5e-3, 0.0, waiting_s=1e-6) == modelled
    waiting = link(1e7, 5e6, 0.5e-3, 0.0, waiting_s=0.2)
    assert waiting.latency_s == pytest.approx(0.2 + 1.5 * 0.5e-3 + 1.2e-3) and waiting.latency_s > modelled.latency_s
    assert waiting.free_bits_per_s == modelled.free_bits_per_s
