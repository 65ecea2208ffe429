"""The collaborative stage keeps the contract of all stages, and partners make it better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairlead_isac.collaboration.leader import ROUNDS_OF_DECISION
from fairlead_isac.collaboration.network import CellLinks, Sight
from fairlead_isac.collaboration.stage import CollaborativeStage, Edge, samples_bits_per_s
from fairlead_isac.errors import IsacError
from fairlead_isac.physics.channel import noise_power_watts, radar_gain, rayleigh
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.scenario import Budget, Cell, Channels, SensingNeed, Target, User
from fairlead_isac.stages.catalogue import stage
from fairlead_isac.stages.protocol import Stage

NUMEROLOGY = Numerology.new_radio(3.5e9, 1, 50, 14 * 20)
CELL = Cell("east", 8, 1.0, 5.0, NUMEROLOGY)
USERS = tuple(User(f"user-{number}") for number in range(4))
TARGETS = (
    Target("car", 0.3, 150.0, 5.0, 1.0, SensingNeed(range_std_m=0.2, refresh_s=0.1)),
    Target("bird", -0.4, 600.0, 5.0, 0.01, SensingNeed(range_std_m=1.0, refresh_s=0.1)),
)
NOISE = noise_power_watts(NUMEROLOGY.bandwidth_hz, 5.0)


def channels(seed: int = 0, blocks: int | None = None) -> Channels:
    random = np.random.default_rng(seed)
    fading = rayleigh(4 * (blocks or 1), 8, random).reshape((4, blocks, 8) if blocks else (4, 8))
    gains = radar_gain([target.range_m for target in TARGETS], 3.5e9, [target.reflectivity for target in TARGETS])
    names = tuple(user.name for user in USERS)
    return Channels(fading * np.sqrt(30 * NOISE), names, NOISE, gains, tuple(target.name for target in TARGETS))


def partner(name: str = "west", good_for: str = "user-3", sees: float = 8.0, rate: float = 4e8) -> CellLinks:
    rates = {user.name: rate if user.name == good_for else 1e6 for user in USERS}
    return CellLinks(name, rates, {"bird": Sight(sees, 1e6, 1e6)}, 1e9)


def test_it_is_a_stage_like_the_others() -> None:
    made = stage("collaborative", CELL, users=USERS, targets=TARGETS)
    assert isinstance(made, Stage) and made.name == "collaborative"
    decision = made.decide(channels(), Budget(1.0))
    assert decision.stage == "collaborative"
    assert sum(dwell.fraction for dwell in decision.dwells) <= 1.0 + 1e-9
    assert decision.power_watts <= 1.0 + 1e-9
    assert set(decision.rate_bits_per_s) == {user.name for user in USERS}
    made.remove_user("user-0")
    assert "user-0" not in made.decide(channels(), Budget(1.0)).rate_bits_per_s
    with pytest.raises(IsacError, match="user-0"):
        made.remove_user("user-0")


def test_alone_it_meets_what_it_can_and_names_the_rest() -> None:
    decision = CollaborativeStage(CELL, USERS, TARGETS).decide(channels(), Budget(1.0))
    assert decision.sensing["car"].unmet == ()
    assert decision.sensing["bird"].unmet != () and "bird" in str(decision.fallback)


def test_a_partner_takes_the_user_and_the_target_that_it_is_best_for() -> None:
    alone = CollaborativeStage(CELL, USERS, TARGETS)
    both = CollaborativeStage(CELL, USERS, TARGETS, partners=[partner()])
    before, after = (each.decide(channels(), Budget(1.0)) for each in (alone, both))
    assert both.agreement is not None
    assert both.agreement.serving["user-3"] == "west"
    assert after.sensing["bird"].unmet == () and after.sensing["bird"].range_std_m == pytest.approx(1.0, rel=0.02)
    assert "west" in both.agreement.sensing["bird"]
    rates = lambda decision: np.log([decision.rate_bits_per_s[user.name] for user in USERS]).sum()
    assert rates(after) > rates(before)
    assert "user-3" not in {name for dwell in after.dwells for name in dwell.stream_users}


def test_sensing_keeps_to_the_budget_of_the_coarser_layer() -> None:
    made = CollaborativeStage(CELL, USERS, TARGETS)
    decision = made.decide(channels(), Budget(1.0, (0.0, 0.02)))
    assert decision.time_fraction_sensing <= 0.02 + 1e-6


def test_sensing_gets_at_least_what_the_coarser_layer_has_promised() -> None:
    made = CollaborativeStage(CELL, USERS, TARGETS, partners=[partner()])
    decision = made.decide(channels(), Budget(1.0, (0.6, 0.9)))
    assert decision.time_fraction_sensing == pytest.approx(0.6)
    assert sum(dwell.fraction for dwell in decision.dwells) <= 1.0 + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_three_uneven_cells_decide_within_their_limits_in_bounded_rounds(seed: int) -> None:
    random = np.random.default_rng(seed)
    users = [User(f"user-{at}", 10 ** random.uniform(-2, 2), random.choice([0, 1e6, 1e9])) for at in range(6)]
    needs = [SensingNeed(range_std_m=10 ** random.uniform(-3, 2)) for _ in range(3)]
    targets = [Target(f"target-{at}", at - 1.0, 100.0, required=need) for at, need in enumerate(needs)]
    gains = rayleigh(6 * 8, 1, random).reshape(6, 8) * 10 ** random.uniform(-6, 1, (6, 1))
    names = tuple(user.name for user in users), tuple(target.name for target in targets)
    seen = Channels(gains, names[0], 10 ** random.uniform(-14, 0), 10 ** random.uniform(-20, 0, 3), names[1])
    others = [
        CellLinks(
            name,
            {user: 10 ** random.uniform(0, 9) for user in names[0]},
            {target: Sight(10 ** random.uniform(-9, 9), 1e6, 1e7) for target in names[1]},
            10 ** random.uniform(5, 10),
        )
        for name in ("north", "west")
    ]
    made = CollaborativeStage(CELL, users, targets, others)
    decision = made.decide(seen, Budget(1.0, (0.0, 0.7)))
    assert made.agreement is not None and made.agreement.rounds <= 2 * ROUNDS_OF_DECISION
    assert decision.reason and "failed" not in str(decision.fallback)
    assert sum(dwell.fraction for dwell in decision.dwells) <= 1.0 + 1e-9
    assert decision.time_fraction_sensing <= 0.7 + 1e-9
    assert max(dwell.sent_watts for dwell in decision.dwells) <= 1.0 + 1e-6


def test_blocks_work_as_well() -> None:
    made = CollaborativeStage(CELL, USERS, TARGETS, partners=[partner()])
    decision = made.decide(channels(blocks=6), Budget(1.0))
    assert decision.blocks is not None and len(decision.blocks) == 6
    assert decision.rate_bits_per_s["user-0"] > 0.0


def test_a_small_server_limits_what_is_sensed() -> None:
    slow = CollaborativeStage(CELL, USERS, TARGETS, edge=Edge(compute_cycles_per_s=1e4))
    decision = slow.decide(channels(), Budget(1.0))
    assert slow.agreement is not None and "car" in slow.agreement.unmet
    assert sum(slow.agreement.compute_cycles_per_s.values()) <= 1e4 * (1 + 1e-9)
    assert "of the information" in str(decision.fallback)


def test_a_narrow_backhaul_limits_what_users_get_and_says_so() -> None:
    radio = CollaborativeStage(CELL, USERS, TARGETS).decide(channels(), Budget(1.0))
    least = 2e6
    users = (replace(USERS[0], min_rate_bits_per_s=least), *USERS[1:])
    made = CollaborativeStage(CELL, users, TARGETS, edge=Edge(backhaul_bits_per_s=2e7))
    decision = made.decide(channels(), Budget(1.0))
    assert made.agreement is not None
    samples = samples_bits_per_s(made.agreement, "east")
    assert 0 < samples < 2e7
    assert sum(radio.rate_bits_per_s.values()) > 1e8
    assert sum(decision.rate_bits_per_s.values()) <= (2e7 - samples) * (1 + 1e-9)
    assert decision.rate_bits_per_s["user-0"] >= least and not decision.unmet
    assert "the backhaul brings" in decision.reason
    tight = CollaborativeStage(CELL, users, edge=Edge(backhaul_bits_per_s=1e6)).decide(channels(), Budget(1.0))
    assert tight.rate_bits_per_s["user-0"] == pytest.approx(1e6) and "over the backhaul; asked 2e+06" in tight.unmet[0]


def test_hard_inputs_are_decided_and_named() -> None:
    made = CollaborativeStage(CELL, USERS, TARGETS, partners=[partner()])
    broken = channels()
    broken.users[1] = np.nan
    decision = made.decide(broken, Budget(1.0))
    assert "user-1" in str(decision.fallback) and decision.rate_bits_per_s["user-0"] > 0.0
    empty = CollaborativeStage(CELL).decide(channels(), Budget(1.0))
    assert empty.dwells == () and empty.rate_bits_per_s == {}


def test_an_agreement_that_fails_costs_the_optimum_not_the_frame() -> None:
    def fails(*_: object) -> None:
        raise IsacError("cells ['west'] are all silent; accepted: one that answers")

    made = CollaborativeStage(CELL, USERS, TARGETS, settle=fails)  # type: ignore[arg-type]
    decision = made.decide(channels(), Budget(1.0))
    assert "silent" in str(decision.fallback) and decision.dwells
    assert all(np.isfinite(rate) for rate in decision.rate_bits_per_s.values())


def test_partners_of_the_same_name_are_refused() -> None:
    with pytest.raises(IsacError, match="each once"):
        CollaborativeStage(CELL, partners=[partner("east")])
    with pytest.raises(IsacError, match="backhaul"):
        Edge(backhaul_bits_per_s=0.0)
    assert replace(partner(), name="north").name == "north"
