"""The restart policy, in virtual time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.runtime.backoff import BackoffPolicy, CrashHistory, Quarantine, Restart

POLICY = BackoffPolicy(first_s=1.0, factor=3.0, longest_s=20.0, quarantine_after=6, healthy_s=60.0)


def _crashes(policy: BackoffPolicy, *ran_s: float) -> list[Restart | Quarantine]:
    history, decisions = CrashHistory(), []
    for each in ran_s:
        history, decision = history.crashed(policy, ran_s=each)
        decisions.append(decision)
    return decisions


def test_delays_grow_to_the_longest_and_then_it_is_quarantined():
    decisions = _crashes(POLICY, 0, 0, 0, 0, 0, 0)
    assert decisions == [Restart(1.0), Restart(3.0), Restart(9.0), Restart(20.0), Restart(20.0), Quarantine(6)]


def test_a_healthy_run_forgives():
    assert _crashes(POLICY, 0, 0, 0, 60.0, 59.9) == [Restart(1), Restart(3), Restart(9), Restart(1), Restart(3)]


@given(st.lists(st.floats(0, 1000), max_size=40), st.integers(1, 8))
def test_quarantine_comes_exactly_after_that_many_short_runs_in_a_row(runs, bound):
    policy = BackoffPolicy(quarantine_after=bound, healthy_s=60)
    in_a_row = 0
    history = CrashHistory()
    for ran_s in runs:
        in_a_row = 1 if ran_s >= 60 else in_a_row + 1
        history, decision = history.crashed(policy, ran_s=ran_s)
        assert isinstance(decision, Quarantine) == (in_a_row >= bound)


@given(st.integers(1, 10_000))
def test_delays_stay_within_bounds_for_ever(crashes):
    assert POLICY.first_s <= POLICY.delay_s(crashes) <= POLICY.longest_s
