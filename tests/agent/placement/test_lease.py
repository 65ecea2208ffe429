"""The holder's side of leases."""

from __future__ import annotations

import itertools

import pytest

from fairlead_agent.messages import LeaseKey, Release, ReleaseAck, Renewal, RenewalReply, RenewalResult
from fairlead_agent.placement import Activate, Effect, Extend, LeaseTable, PlacementSettings, Send, Stop

TTL = 15.0


def key(replica: int = 0) -> LeaseKey:
    return LeaseKey(site="lab", workload="chat", replica=replica)


@pytest.fixture
def table() -> LeaseTable:
    ids = itertools.count()
    return LeaseTable("edge", 1, PlacementSettings(ttl_s=TTL), lambda: f"id-{next(ids)}")


def renewals(effects: list[Effect]) -> list[Renewal]:
    return [e.body for e in effects if isinstance(e, Send) and isinstance(e.body, Renewal)]


def reply_to(renewal: Renewal, *, renewed: bool = True, reason: str = "") -> RenewalReply:
    return RenewalReply(
        request_id=renewal.request_id,
        node=renewal.node,
        sent_boottime_s=renewal.sent_boottime_s,
        results=tuple(
            RenewalResult(key=ref.key, epoch=ref.epoch, renewed=renewed, ttl_s=TTL, reason=reason)
            for ref in renewal.leases
        ),
    )


def test_a_lease_counts_from_the_accept_and_is_renewed_at_once(table: LeaseTable) -> None:
    effects = table.start(key(), "a", 1, TTL, counted_from=100.0, now=104.0)
    assert effects[0] == Activate(key(), "a", 1, 115.0)
    assert len(renewals(effects)) == 1


def test_a_renewal_counts_from_when_it_was_sent(table: LeaseTable) -> None:
    (renewal,) = renewals(table.start(key(), "a", 1, TTL, 100.0, 101.0))
    assert table.renewal_reply(reply_to(renewal), now=109.0) == [Extend(key(), 1, 116.0)]
    assert table.next_wakeup() == pytest.approx(101.0 + TTL / 3)


def test_all_leases_are_renewed_in_one_message(table: LeaseTable) -> None:
    for replica in range(3):
        table.start(key(replica), f"n{replica}", 1, TTL, 100.0, 100.0)
    (renewal,) = renewals(table.tick(106.0))
    assert {ref.key.replica for ref in renewal.leases} == {0, 1, 2}


def test_an_unanswered_renewal_is_repeated_and_then_the_holder_stops(table: LeaseTable) -> None:
    table.start(key(), "a", 1, TTL, 100.0, 100.0)
    sent, stopped, now = 0, [], 100.0
    while not stopped and now < 200:
        now = table.next_wakeup() or 999
        effects = table.tick(now)
        sent += len(renewals(effects))
        stopped = [e for e in effects if isinstance(e, Stop)]
    assert now == pytest.approx(115.0)
    assert 3 <= sent <= 12
    assert not stopped[0].drain and "run out" in stopped[0].reason


def test_nothing_revives_a_lease_that_has_run_out(table: LeaseTable) -> None:
    (renewal,) = renewals(table.start(key(), "a", 1, TTL, 100.0, 114.0))
    effects = table.renewal_reply(reply_to(renewal), now=115.5)
    assert [type(e) for e in effects] == [Stop]
    assert table.start(key(), "a", 1, TTL, 115.0, 115.6) == []
    assert table.live(key(), 115.6) is None


def test_a_reply_that_was_not_asked_for_is_ignored(table: LeaseTable) -> None:
    (renewal,) = renewals(table.start(key(), "a", 1, TTL, 100.0, 100.0))
    forged = reply_to(renewal).model_copy(update={"request_id": "other", "sent_boottime_s": 1e9})
    assert table.renewal_reply(forged, 101.0) == []
    table.renewal_reply(reply_to(renewal), 101.0)
    assert table.renewal_reply(reply_to(renewal), 101.0) == []


def test_a_refused_renewal_stops_at_once(table: LeaseTable) -> None:
    (renewal,) = renewals(table.start(key(), "a", 1, TTL, 100.0, 100.0))
    (stop,) = table.renewal_reply(reply_to(renewal, renewed=False, reason="epoch 2 of server"), 101.0)
    assert isinstance(stop, Stop) and not stop.drain and "epoch 2 of server" in stop.reason


def test_a_late_grant_serves_only_after_a_renewal(table: LeaseTable) -> None:
    effects = table.start(key(), "a", 3, TTL, counted_from=100.0, now=120.0)
    assert not [e for e in effects if isinstance(e, Activate)]
    (renewal,) = renewals(effects)
    assert table.renewal_reply(reply_to(renewal), 121.0) == [Activate(key(), "a", 3, 135.0)]


def test_a_newer_epoch_ends_the_older_instance_first(table: LeaseTable) -> None:
    table.start(key(), "a", 1, TTL, 100.0, 100.0)
    effects = table.start(key(), "b", 2, TTL, 101.0, 101.0)
    assert [type(e) for e in effects[:2]] == [Stop, Activate]


def test_a_draining_lease_is_renewed_until_the_instance_has_stopped(table: LeaseTable) -> None:
    table.start(key(), "a", 1, TTL, 100.0, 100.0)
    (stop,) = table.drain(key(), "moves away", 101.0)
    assert isinstance(stop, Stop) and stop.drain
    assert table.drain(key(), "moves away", 101.5) == []
    assert renewals(table.tick(105.5))
    (send,) = table.stopped(key(), "a", 107.0)
    assert isinstance(send, Send) and isinstance(send.body, Release) and send.body.epoch == 1
    assert table.held() == ()


def test_draining_has_an_end(table: LeaseTable) -> None:
    table.start(key(), "a", 1, 3600.0, 100.0, 100.0)
    table.drain(key(), "moves away", 101.0)
    stops = [e for e in table.tick(131.5) if isinstance(e, Stop)]
    assert len(stops) == 1 and not stops[0].drain


def test_a_release_is_repeated_until_it_is_acknowledged(table: LeaseTable) -> None:
    table.start(key(), "a", 1, TTL, 100.0, 100.0)
    (send,) = table.stopped(key(), "a", 101.0)
    assert isinstance(send, Send) and isinstance(send.body, Release)
    assert table.tick(102.1) == [send]
    table.release_ack(ReleaseAck(request_id=send.body.request_id, key=key(), epoch=1))
    assert table.tick(104.0) == []


def test_a_release_that_is_never_acknowledged_ends_with_the_hold(table: LeaseTable) -> None:
    table.start(key(), "a", 1, TTL, 100.0, 100.0)
    table.stopped(key(), "a", 101.0)
    assert table.tick(101.0 + 2 * TTL) == []
    assert table.next_wakeup() is None


def test_an_epoch_that_is_not_held_is_given_back_and_never_started(table: LeaseTable) -> None:
    (send,) = table.disclaim(key(), 4, TTL, 100.0, "unknown")
    assert isinstance(send, Send) and isinstance(send.body, Release) and send.body.epoch == 4
    assert table.start(key(), "a", 4, TTL, 100.0, 100.0) == []
    assert table.start(key(), "b", 5, TTL, 100.0, 100.0)


def test_a_held_epoch_is_not_disclaimed(table: LeaseTable) -> None:
    table.start(key(), "a", 4, TTL, 100.0, 100.0)
    assert table.disclaim(key(), 4, TTL, 101.0, "unknown") == []
    table.end(key(), "over", drain=False, now=102.0)
    assert table.disclaim(key(), 4, TTL, 102.1, "unknown") == [], "its instance still stops"
