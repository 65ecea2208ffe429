"""What the cells agree upon, against one solver that knows all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairlead_isac.collaboration.cell import Agreeing, CellParty, agree
from fairlead_isac.collaboration.centralised import centralised_utility
from fairlead_isac.collaboration.leader import ROUNDS_OF_DECISION, Leader
from fairlead_isac.collaboration.network import Agreement, CellLinks, SharedTarget, SharedTask, SharedUser, Sight
from fairlead_isac.errors import IsacError
from tests.plugins.isac.collaboration.networks import network


def scale(task: SharedTask, links: list[CellLinks]) -> list[float]:
    return Leader(task, [CellParty(task, each).report() for each in links]).rate_scale.tolist()


@pytest.mark.parametrize(("seed", "need", "server"), [(3, 1.0, 5e9), (1, 1.0, 3e9), (2, 10.0, 5e9)])
def test_reaches_the_centralised_optimum(seed: int, need: float, server: float) -> None:
    pytest.importorskip("cvxpy")
    task, links = network(seed, need=need, server=server)
    found = agree(task, links, most_rounds=800, tolerance=2e-4)
    relaxed = centralised_utility(task, links, scale(task, links))
    rounded = centralised_utility(task, links, scale(task, links), found.serving)
    assert found.utility_bound == pytest.approx(relaxed, rel=5e-4)
    assert found.utility == pytest.approx(rounded, rel=5e-4)
    assert found.fallback is None


@pytest.mark.parametrize("seed", [1, 3])
def test_no_cell_and_no_server_gives_more_than_it_has(seed: int) -> None:
    task, links = network(seed, need=5.0)
    found = agree(task, links)
    for each in links:
        assert sum(found.time_share[each.name].values()) <= 1.0 + 1e-6
        assert found.backhaul_bits_per_s[each.name] <= each.backhaul_bits_per_s * (1.0 + 1e-6)
    assert sum(found.compute_cycles_per_s.values()) <= task.compute_cycles_per_s * (1.0 + 1e-9)
    assert set(found.serving) == {user.name for user in task.users}


def uneven(seed: int) -> tuple[SharedTask, list[CellLinks]]:
    """What cells give differs by many powers of ten: hopeless targets, users next to the antenna or out of range."""
    random = np.random.default_rng(seed)
    task, links = network(seed, users=6, targets=3)
    scale = lambda name, least, most: {each: 10.0 ** random.uniform(least, most) for each in name}
    return task, [
        replace(
            each,
            rate_bits_per_s=scale(each.rate_bits_per_s, -4, 9),
            sights={name: Sight(part, 1e6, 1e7) for name, part in scale(each.sights, -16, 9).items()},
            most_sensing=float(random.choice([0.0, 1e-3, 0.7])),
        )
        for each in links
    ]


@pytest.mark.parametrize("seed", range(6))
def test_no_cell_gives_more_than_its_time_however_uneven_links_are(seed: int) -> None:
    task, links = uneven(seed)
    found = agree(task, links, most_rounds=60)
    targets = {target.name for target in task.targets}
    for each in links:
        shares = found.time_share[each.name]
        assert sum(shares.values()) <= 1.0 + 1e-9
        assert sum(share for name, share in shares.items() if name in targets) <= each.most_sensing * (1.0 + 1e-9)
        assert found.backhaul_bits_per_s[each.name] <= each.backhaul_bits_per_s * (1.0 + 1e-9)
    assert sum(found.compute_cycles_per_s.values()) <= task.compute_cycles_per_s * (1.0 + 1e-9)


def test_rates_and_information_are_those_of_the_shares() -> None:
    task, links = network(7)
    found = agree(task, links)
    for user in task.users:
        cell = next(each for each in links if each.name == found.serving[user.name])
        expected = found.time_share[cell.name][user.name] * cell.rate_bits_per_s[user.name]
        assert found.rate_bits_per_s[user.name] == pytest.approx(expected, rel=1e-6)
    for target in task.targets:
        parts = [
            found.time_share[each.name].get(target.name, 0.0) * each.sights[target.name].information for each in links
        ]
        assert found.information[target.name] == pytest.approx(sum(parts) / target.information, rel=1e-6)


def two_cells(**changes: float) -> tuple[SharedTask, list[CellLinks]]:
    """Each cell is best for one of two users; both see one target."""
    near, far = {"a": 1e8, "b": 1e6}, {"a": 1e6, "b": 1e8}
    sight = {"car": Sight(4.0, 1e6, 1e7)}
    links = [CellLinks("east", near, sight, 1e9), CellLinks("west", far, sight, 1e9)]
    task = SharedTask((SharedUser("a"), SharedUser("b")), (SharedTarget("car", 1.0, 0.1),), 1e10)
    return task, [replace(each, **changes) for each in links]


def test_each_user_gets_its_best_cell_and_the_target_both() -> None:
    task, links = two_cells()
    found = agree(task, links)
    assert found.serving == {"a": "east", "b": "west"}
    assert found.sensing == {"car": ("east", "west")}
    assert found.information["car"] == pytest.approx(1.0, abs=5e-3)
    assert found.unmet == {}


def test_a_short_deadline_on_a_small_server_leaves_the_target_short_and_says_so() -> None:
    task, links = two_cells()
    hurried = replace(task, targets=(SharedTarget("car", 1.0, 1e-4),), compute_cycles_per_s=1e10)
    found = agree(hurried, links)
    assert found.information["car"] < 0.9
    assert "of the information" in found.unmet["car"]


def test_a_small_backhaul_limits_the_rate() -> None:
    task, links = two_cells(backhaul_bits_per_s=2e7)
    found = agree(task, links)
    assert found.rate_bits_per_s["a"] < 2e7
    assert found.backhaul_bits_per_s["east"] <= 2e7 * (1 + 1e-6)


def test_sensing_keeps_to_its_largest_share() -> None:
    task, links = two_cells(most_sensing=0.05)
    found = agree(task, links)
    assert found.time_share["east"]["car"] <= 0.05 + 1e-6
    assert "car" in found.unmet


def test_a_user_whom_no_cell_reaches_is_named_and_the_others_are_served() -> None:
    task, links = two_cells()
    found = agree(replace(task, users=(*task.users, SharedUser("lost"))), links)
    assert found.unmet["lost"] == "no cell reaches it"
    assert found.rate_bits_per_s["a"] > 1e7
    assert np.isfinite(found.utility)


def test_nothing_to_serve_is_no_error() -> None:
    _, links = two_cells()
    found = agree(SharedTask((), (), 1e9), links)
    assert isinstance(found, Agreement) and found.serving == {} and found.utility == 0.0


def test_too_few_rounds_give_what_there_is_and_say_so() -> None:
    task, links = network(4, need=3.0, server=3e9)
    found = agree(task, links, most_rounds=5)
    assert found.fallback is not None and "5 rounds" in found.fallback
    assert sum(found.compute_cycles_per_s.values()) <= task.compute_cycles_per_s * (1.0 + 1e-9)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: SharedUser("u", weight=0.0), "weight"),
        (lambda: SharedTarget("t", float("nan")), "information"),
        (lambda: CellLinks("c", {"u": -1.0}, {}, 1e9), "rate_bits_per_s of 'u'"),
        (lambda: CellLinks("c", {}, {"t": Sight(1.0, float("inf"), 1.0)}, 1e9), "bits of 't'"),
        (lambda: CellLinks("c", {}, {}, 1e9, most_sensing=2.0), "most_sensing"),
        (lambda: SharedTask((SharedUser("u"), SharedUser("u")), (), 1e9), "'u' is there twice"),
        (lambda: agree(SharedTask((), (), 1e9), []), "at least one"),
    ],
)
def test_bad_input_is_named(make: object, named: str) -> None:
    with pytest.raises(IsacError, match=named):
        make()  # type: ignore[operator]


def test_the_next_agreement_of_nearly_the_same_links_takes_fewer_rounds() -> None:
    task, links = network(2)
    moved = [
        replace(each, rate_bits_per_s={name: 1.02 * rate for name, rate in each.rate_bits_per_s.items()})
        for each in links
    ]
    settle = Agreeing()
    first, again = settle(task, links), settle(task, moved)
    cold = agree(task, moved)
    assert again.rounds < 0.6 * cold.rounds and first.rounds > 10
    assert again.utility == pytest.approx(cold.utility, rel=2e-3)
    fewer = replace(task, users=task.users[:2])
    assert settle(fewer, moved).serving == agree(fewer, moved).serving


@pytest.mark.parametrize("seed", [1, 4])
def test_a_decision_takes_a_bounded_number_of_rounds_and_the_next_ones_come_nearer(seed: int) -> None:
    task, links = network(seed, users=6, targets=3, need=10.0)
    settle, best = Agreeing(), agree(task, links)
    found = [settle(task, links) for _ in range(4)]
    assert all(each.rounds <= 2 * ROUNDS_OF_DECISION for each in found)
    assert all(each.fallback is None or f"after {ROUNDS_OF_DECISION} rounds" in each.fallback for each in found)
    assert found[-1].utility == pytest.approx(best.utility, abs=0.5)


@pytest.mark.parametrize("seed", [0, 1])
def test_at_its_deadline_it_agrees_on_what_there_is_and_says_so(seed: int) -> None:
    task, links = uneven(seed)
    now = iter(range(10**6))
    found = Agreeing(deadline_s=20.0, clock=lambda: float(next(now)))(task, links)
    assert found.rounds <= 22 and "at the deadline" in str(found.fallback)
    assert set(found.serving) | set(found.unmet) >= {user.name for user in task.users}
    for each in links:
        assert sum(found.time_share[each.name].values()) <= 1.0 + 1e-9
        assert found.backhaul_bits_per_s[each.name] <= each.backhaul_bits_per_s * (1.0 + 1e-9)
    with pytest.raises(IsacError, match="deadline_s"):
        Agreeing(deadline_s=0.0)
