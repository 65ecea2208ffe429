"""The holder's side of a lease, against a virtual clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.runtime.host.lease import HeldLease, StaleEpochError


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_live_until_expiry_and_not_a_moment_longer():
    clock = Clock()
    lease = HeldLease(clock)
    assert lease.live_epoch() == 0
    lease.activate(3, 110.0)
    clock.now_s = 109.999
    assert lease.live_epoch() == 3
    clock.now_s = 110.0
    assert lease.live_epoch() == 0 and lease.epoch == 3
    lease.extend(3, 120.0)
    assert lease.live_epoch() == 3


def test_a_late_answer_never_shortens_a_lease():
    lease = HeldLease(Clock())
    lease.activate(3, 130.0)
    lease.extend(3, 120.0)
    lease.activate(3, 110.0)
    assert lease.expires_boottime_s == 130.0


def test_a_new_epoch_starts_with_its_own_expiry():
    lease = HeldLease(Clock())
    lease.activate(3, 130.0)
    lease.activate(4, 105.0)
    assert (lease.epoch, lease.expires_boottime_s) == (4, 105.0)


@pytest.mark.parametrize("epoch", [-1, 0, 2])
def test_lower_epochs_are_refused(epoch):
    lease = HeldLease(Clock())
    lease.activate(3, 130.0)
    with pytest.raises(StaleEpochError):
        lease.activate(epoch, 200.0)
    with pytest.raises(StaleEpochError):
        lease.extend(epoch, 200.0)
    assert (lease.epoch, lease.expires_boottime_s) == (3, 130.0)


def test_nothing_to_extend_before_the_first_activation():
    with pytest.raises(StaleEpochError):
        HeldLease(Clock()).extend(0, 200.0)


@given(st.lists(st.tuples(st.sampled_from(["activate", "extend"]), st.integers(0, 5), st.floats(0, 300)), max_size=30))
def test_the_epoch_only_grows_and_within_one_the_expiry_only_grows(steps):
    lease = HeldLease(Clock())
    for method, epoch, expires_s in steps:
        before = (lease.epoch, lease.expires_boottime_s)
        try:
            getattr(lease, method)(epoch, expires_s)
        except StaleEpochError:
            assert (lease.epoch, lease.expires_boottime_s) == before
        assert lease.epoch >= before[0]
        assert lease.epoch > before[0] or lease.expires_boottime_s >= before[1]
