"""A node never promises more than it has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.placement import Claim, Ledger, Resources

CAPACITY = Resources({"dram": 100, "vram": 40}, 4.0)


def needs(dram: int = 0, vram: int = 0, cores: float = 0.0) -> Resources:
    return Resources({"dram": dram, "vram": vram}, cores)


def test_what_does_not_fit_beside_the_others_is_refused() -> None:
    ledger = Ledger()
    assert ledger.claim(("a", ""), Claim(needs(60)), CAPACITY, 0.0)
    assert not ledger.claim(("b", ""), Claim(needs(50)), CAPACITY, 0.0)
    assert ledger.free(CAPACITY, 0.0).tier("dram") == 40


def test_reservations_lapse() -> None:
    ledger = Ledger()
    ledger.claim(("a", ""), Claim(needs(60), expires_at=5.0), CAPACITY, 0.0)
    assert ledger.claim(("b", ""), Claim(needs(60)), CAPACITY, 5.0)
    assert not ledger.convert(("a", ""), ("a", "k"), Claim(needs(10)), 5.0)


def test_a_reservation_becomes_a_claim_without_counting_twice() -> None:
    ledger = Ledger()
    ledger.claim(("a", ""), Claim(needs(100), expires_at=5.0), CAPACITY, 0.0)
    assert ledger.convert(("a", ""), ("a", "k"), Claim(needs(70)), 1.0)
    assert ledger.claimed(1.0).tier("dram") == 100
    assert not ledger.convert(("a", ""), ("a", "m"), Claim(needs(31)), 1.0)
    assert ledger.claimed(6.0).tier("dram") == 70


def test_a_claim_in_the_place_of_another_counts_only_what_is_more() -> None:
    ledger = Ledger()
    ledger.claim(("old", "k"), Claim(needs(80)), CAPACITY, 0.0)
    assert ledger.claim(("new", "k"), Claim(needs(90), replaces=("old", "k")), CAPACITY, 0.0)
    assert ledger.claimed(0.0).tier("dram") == 90
    assert not ledger.claim(("third", "k"), Claim(needs(5), replaces=("old", "k")), CAPACITY, 0.0)
    ledger.release(("old", "k"))
    assert ledger.claimed(0.0).tier("dram") == 90


def test_every_tier_and_the_cores_count() -> None:
    ledger = Ledger()
    assert not ledger.claim(("a", ""), Claim(needs(1, 41)), CAPACITY, 0.0)
    assert not ledger.claim(("a", ""), Claim(needs(1, 1, 4.5)), CAPACITY, 0.0)
    assert not ledger.claim(("a", ""), Claim(Resources({"storage": 1})), CAPACITY, 0.0)


def test_what_is_missing_is_said_in_words() -> None:
    room = Resources({"dram": 512 << 20}, 2.0)
    lacking = Resources({"dram": 1 << 30, "vram": 1 << 30}, 4.0).lacking(room)
    assert lacking == "1024 MiB of dram (512 MiB free), 1024 MiB of vram (0 MiB free), 4 cores (2 free)"


names = st.sampled_from([("a", ""), ("b", ""), ("c", ""), ("a", "k"), ("b", "k"), ("c", "k")])
steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "convert", "release", "replace"]),
        names,
        names,
        st.integers(0, 110),
        st.floats(0, 5),
        st.floats(0, 3),
    ),
    max_size=60,
)


@given(steps)
def test_the_sum_of_all_promises_never_exceeds_the_capacity(
    actions: list[tuple[str, tuple[str, str], tuple[str, str], int, float, float]],
) -> None:
    ledger, now = Ledger(), 0.0
    for what, name, other, dram, cores, wait in actions:
        now += wait
        if what == "claim":
            ledger.claim(name, Claim(needs(dram, 0, cores), expires_at=now + 4), CAPACITY, now)
        elif what == "convert" and name[1] == "" and other[1] != "":
            ledger.convert(name, other, Claim(needs(dram, 0, cores)), now)
        elif what == "replace" and name != other and ledger.get(name) is None and ledger.get(other) is not None:
            old = ledger.get(other)
            if old is not None and old.expires_at is None and old.replaces is None:
                ledger.claim(name, Claim(needs(dram, 0, cores), replaces=other), CAPACITY, now)
        elif what == "release":
            ledger.release(name)
        assert ledger.claimed(now).within(CAPACITY)
