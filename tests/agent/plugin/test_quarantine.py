"""Quarantine is a pure function of failures and time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.plugin.quarantine import Quarantine


def test_it_doubles_up_to_the_longest() -> None:
    quarantine, now, waits = Quarantine(failures=2, first_s=10.0, longest_s=35.0), 0.0, []
    for _ in range(5):
        quarantine.failed("no", now)
        waits.append(quarantine.until - now if quarantine.until > now else 0.0)
        now = max(now, quarantine.until)
    assert waits == [0.0, 10.0, 20.0, 35.0, 35.0]


def test_hopeless_failures_need_no_repetition() -> None:
    quarantine = Quarantine()
    quarantine.failed("broken", 5.0, hopeless=True)
    assert "broken" in (quarantine.objection(6.0) or "")


@given(st.lists(st.booleans(), max_size=2000))
def test_a_success_forgives_all_and_time_stays_finite(history: list[bool]) -> None:
    quarantine = Quarantine()
    for good in history:
        quarantine.succeeded() if good else quarantine.failed("no", 0.0)
        assert 0.0 <= quarantine.until <= quarantine.longest_s
    if history and history[-1]:
        assert quarantine.objection(0.0) is None
