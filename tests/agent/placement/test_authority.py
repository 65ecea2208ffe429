"""The authority's rules: one compare-and-swap, and never two live holders."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.messages import (
    Grant,
    GrantDenied,
    GrantRequest,
    LeaseKey,
    LeaseQuery,
    LeaseRef,
    LeaseStates,
    Release,
    ReleaseAck,
    Renewal,
    RenewalReply,
)
from fairlead_agent.placement import AuthorityRules, LeaseRow, PlacementSettings

KEY = LeaseKey(site="lab", workload="chat", replica=0)
SETTINGS = PlacementSettings(ttl_s=15.0)
RULES = AuthorityRules(SETTINGS)
HOLD_S = SETTINGS.hold_s(15.0)


def request(expected: int = 0, node: str = "edge", incarnation: int = 1, negotiation: str = "a") -> GrantRequest:
    return GrantRequest(
        request_id="r",
        key=KEY,
        node=node,
        incarnation=incarnation,
        negotiation=negotiation,
        generation=1,
        expected_epoch=expected,
        ttl_s=15.0,
    )


def granted(now: float = 0.0, **changes: object) -> LeaseRow:
    row, reply = RULES.grant(None, request(), now)
    assert isinstance(reply, Grant) and row is not None
    return replace(row, **changes)  # type: ignore[arg-type]


def test_first_grant_is_epoch_one() -> None:
    row, reply = RULES.grant(None, request(), 100.0)
    assert isinstance(reply, Grant)
    assert (reply.epoch, reply.node, reply.ttl_s) == (1, "edge", 15.0)
    assert row is not None and row.renewed_at_s == 100.0


def test_the_hold_follows_the_formula() -> None:
    assert pytest.approx(15 * 1.0005 / 0.9995 + 0.25) == HOLD_S


def test_same_request_again_gets_the_same_epoch_and_does_not_extend() -> None:
    row = granted(now=0.0)
    again, reply = RULES.grant(row, request(), 9.0)
    assert isinstance(reply, Grant) and reply.epoch == 1
    assert again == row


def test_another_node_waits_for_the_hold() -> None:
    row = granted(now=0.0)
    _, early = RULES.grant(row, request(expected=1, node="server", negotiation="b"), HOLD_S - 0.01)
    assert isinstance(early, GrantDenied)
    assert early.retry_after_s == pytest.approx(0.01)
    assert early.holder == "edge"
    new, late = RULES.grant(row, request(expected=1, node="server", negotiation="b"), HOLD_S)
    assert isinstance(late, Grant) and late.epoch == 2
    assert new is not None and new.node == "server"


def test_a_wrong_expectation_is_told_the_counter() -> None:
    _, reply = RULES.grant(granted(), request(expected=7, node="server"), 1e6)
    assert isinstance(reply, GrantDenied)
    assert (reply.current_epoch, reply.retry_after_s) == (1, None)


def test_a_released_key_is_free_at_once_but_never_the_same_epoch() -> None:
    row = RULES.release(granted(), Release(request_id="x", node="edge", incarnation=1, key=KEY, epoch=1))
    assert row is not None and row.released
    _, repeated = RULES.grant(row, request(), 0.1)
    assert isinstance(repeated, GrantDenied)
    _, reply = RULES.grant(row, request(expected=1, node="server", negotiation="b"), 0.1)
    assert isinstance(reply, Grant) and reply.epoch == 2


@pytest.mark.parametrize(
    "release",
    [
        Release(request_id="x", node="server", incarnation=1, key=KEY, epoch=1),
        Release(request_id="x", node="edge", incarnation=1, key=KEY, epoch=2),
        Release(request_id="x", node="edge", incarnation=0 + 1, key=KEY, epoch=9),
    ],
)
def test_a_release_by_someone_else_or_of_another_epoch_changes_nothing(release: Release) -> None:
    assert RULES.release(granted(), release) == granted()


def test_a_restarted_node_is_granted_at_once_but_not_to_its_own_past() -> None:
    row = granted(incarnation=3)
    _, newer = RULES.grant(row, request(expected=1, incarnation=4, negotiation="b"), 0.1)
    assert isinstance(newer, Grant)
    for incarnation in (2, 3):
        _, reply = RULES.grant(row, request(expected=1, incarnation=incarnation, negotiation="b"), 0.1)
        assert isinstance(reply, GrantDenied)


def test_a_renewal_moves_the_hold_and_adopts_the_lease() -> None:
    row, result = RULES.renew(granted(), LeaseRef(key=KEY, epoch=1), "edge", 2, 14.0)
    assert result.renewed and result.ttl_s == 15.0
    assert row is not None and (row.renewed_at_s, row.incarnation) == (14.0, 2)
    _, stale = RULES.renew(row, LeaseRef(key=KEY, epoch=1), "edge", 1, 15.0)
    assert not stale.renewed and "incarnation 2" in stale.reason


@pytest.mark.parametrize(("epoch", "node"), [(2, "edge"), (1, "server")])
def test_only_the_holder_of_the_current_epoch_renews(epoch: int, node: str) -> None:
    row, result = RULES.renew(granted(), LeaseRef(key=KEY, epoch=epoch), node, 1, 1.0)
    assert not result.renewed and result.reason
    assert row == granted()


def test_a_released_lease_is_not_renewed() -> None:
    _, result = RULES.renew(granted(released=True), LeaseRef(key=KEY, epoch=1), "edge", 1, 1.0)
    assert not result.renewed


def test_after_a_restart_live_leases_count_as_just_renewed() -> None:
    row = RULES.after_restart(granted(now=1e6), 3.0)
    assert RULES.remaining_s(row, 3.0) == pytest.approx(HOLD_S)
    assert RULES.after_restart(granted(released=True), 3.0).renewed_at_s == 0.0


def test_the_dispatcher_answers_every_request_and_nothing_else() -> None:
    rows: dict[LeaseKey, LeaseRow] = {}
    changed, reply = RULES.answer(rows, request(), 0.0)
    rows = {row.key: row for row in changed}
    assert isinstance(reply, Grant)
    renewal = Renewal(
        request_id="n",
        node="edge",
        incarnation=1,
        sent_boottime_s=77.0,
        leases=(LeaseRef(key=KEY, epoch=1), LeaseRef(key=KEY, epoch=2)),
    )
    changed, reply = RULES.answer(rows, renewal, 2.0)
    assert isinstance(reply, RenewalReply) and reply.sent_boottime_s == 77.0
    assert [result.renewed for result in reply.results] == [True, False]
    assert [row.renewed_at_s for row in changed] == [2.0]
    _, reply = RULES.answer(rows, LeaseQuery(request_id="q", workloads=("chat",)), 1.0)
    assert isinstance(reply, LeaseStates)
    assert (reply.leases[0].epoch, reply.leases[0].node, reply.leases[0].renewed_ago_s) == (1, "edge", 1.0)
    _, reply = RULES.answer(rows, LeaseQuery(request_id="q", workloads=("other",)), 1.0)
    assert isinstance(reply, LeaseStates) and reply.leases == ()
    release = Release(request_id="z", node="edge", incarnation=1, key=KEY, epoch=1)
    changed, reply = RULES.answer(rows, release, 1.0)
    assert isinstance(reply, ReleaseAck) and changed[0].released
    rows = {row.key: row for row in changed}
    assert RULES.answer(rows, release, 1.0)[0] == ()
    assert RULES.answer(rows, reply, 1.0) == ((), None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["grant", "renew", "release"]),
            st.sampled_from(["n0", "n1"]),
            st.integers(1, 3),
            st.integers(0, 4),
            st.floats(0.0, 10.0),
        ),
        max_size=40,
    )
)
def test_epochs_only_grow_and_holders_change_only_after_the_hold(steps: list[tuple[str, str, int, int, float]]) -> None:
    row: LeaseRow | None = None
    now = 0.0
    for kind, node, incarnation, epoch, wait in steps:
        now += wait
        before = row
        if kind == "grant":
            row, _ = RULES.grant(row, request(epoch, node, incarnation, f"{node}{incarnation}"), now)
        elif kind == "renew" and epoch:
            row, _ = RULES.renew(row, LeaseRef(key=KEY, epoch=epoch), node, incarnation, now)
        elif epoch:
            body = Release(request_id="r", node=node, incarnation=incarnation, key=KEY, epoch=epoch)
            row = RULES.release(row, body)
        if before is not None and row is not None:
            assert row.epoch >= before.epoch
            if row.node != before.node:
                assert before.released or now - before.renewed_at_s >= HOLD_S - 1e-9
                assert row.epoch == before.epoch + 1
