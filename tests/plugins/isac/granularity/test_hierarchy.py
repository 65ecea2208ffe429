"""Layers run on their own periods; a layer that fails keeps its last setting and says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.band import BandLayer, BandSetting
from fairlead_isac.granularity.cell import CellLayer, CellSetting
from fairlead_isac.granularity.hierarchy import Hierarchy
from fairlead_isac.granularity.layer import Answer, Observation, SolverFailed
from fairlead_isac.granularity.slot import SlotLayer
from fairlead_isac.granularity.symbol import SymbolLayer, SymbolSetting
from tests.plugins.isac.granularity.scenes import SLOT_S, seen, tracked


class Counting:
    """Counts its decisions; fails at the times in ``fails``."""

    def __init__(self, name: str, period_s: float, fails: tuple[int, ...] = (), error: Exception | None = None) -> None:
        self.name, self.period_s, self.fails, self.count = name, period_s, fails, 0
        self.error = error or SolverFailed("no convergence")
        self.above: list[Any] = []

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        self.count += 1
        self.above.append(above)
        if self.count in self.fails:
            raise self.error
        return Answer(self.count, "counted")

    def default(self, observation: Observation) -> Answer:
        return Answer("safe", "nothing yet")


def test_each_layer_decides_on_its_own_period() -> None:
    layers = [Counting("a", 1.0), Counting("b", 0.1), Counting("c", 0.01)]
    hierarchy, observation = Hierarchy(layers), seen()
    for number in range(250):
        hierarchy.step(number * 0.01, observation)
    assert [layer.count for layer in layers] == [3, 25, 250]
    # The finer one sees what the coarser one has set.
    assert layers[1].above[:11] == [1] * 10 + [2]


def test_coarse_layers_decide_first_and_say_until_when() -> None:
    hierarchy = Hierarchy([Counting("a", 1.0), Counting("b", 0.25)])
    first = hierarchy.step(0.0, seen())
    assert [(each.layer, each.at_s, each.until_s) for each in first] == [("a", 0.0, 1.0), ("b", 0.0, 0.25)]
    assert hierarchy.step(0.1, seen()) == []
    assert [each.layer for each in hierarchy.step(0.25, seen())] == ["b"]


def test_periods_that_nobody_asked_for_are_counted_and_not_made_up_for() -> None:
    hierarchy = Hierarchy([Counting("a", 0.1)])
    hierarchy.step(0.0, seen())
    late = hierarchy.step(0.57, seen())[0]
    assert late.missed == 4 and late.until_s == pytest.approx(0.6)
    assert [each.missed for each in hierarchy.step(0.6, seen())] == [0]


@pytest.mark.parametrize(
    "error", [SolverFailed("no convergence"), np.linalg.LinAlgError("singular"), ZeroDivisionError()]
)
def test_a_layer_that_fails_keeps_its_last_setting_and_says_so(error: Exception) -> None:
    above, below = Counting("a", 0.1, (3,), error), Counting("b", 0.1)
    hierarchy = Hierarchy([above, below])
    for number in range(2):
        hierarchy.step(number * 0.1, seen())
    failed, other = hierarchy.step(0.2, seen())
    assert failed.setting == 2 and "kept the setting of 0.1 s" in str(failed.fallback)
    assert other.fallback is None and below.above[-1] == 2
    assert hierarchy.step(0.3, seen())[0].fallback is None


def test_a_layer_that_fails_at_first_has_its_safe_setting() -> None:
    hierarchy = Hierarchy([Counting("a", 1.0, (1,))])
    first = hierarchy.step(0.0, seen())[0]
    assert first.setting == "safe" and "no convergence" in str(first.fallback)


def test_real_layers_go_on_through_channels_that_are_none() -> None:
    hierarchy = Hierarchy([BandLayer(1e6), CellLayer(0.05), SlotLayer(SLOT_S), SymbolLayer(SLOT_S)])
    hierarchy.step(0.0, seen(tracked()))
    before = hierarchy.setting("slot")
    broken = seen(tracked())
    broken.gains[:] = np.nan
    decisions = {each.layer: each for each in hierarchy.step(SLOT_S, broken)}
    assert "not finite" in str(decisions["slot"].fallback)
    assert decisions["slot"].setting is before
    assert isinstance(decisions["symbol"].setting, SymbolSetting)


def test_without_users_and_without_targets_there_is_still_a_slot() -> None:
    hierarchy = Hierarchy([BandLayer(1e6), CellLayer(0.05), SlotLayer(SLOT_S), SymbolLayer(SLOT_S)])
    for observation in (seen(users=0), seen(), seen(tracked(), users=0)):
        again = Hierarchy(hierarchy.layers)
        assert all(each.fallback is None for each in again.step(0.0, observation))


def test_budgets_and_prices_go_down() -> None:
    hierarchy = Hierarchy([BandLayer(1e6, 0.3), CellLayer(0.05), SlotLayer(SLOT_S), SymbolLayer(SLOT_S)])
    decisions = {each.layer: each for each in hierarchy.step(0.0, seen(tracked()))}
    band, cell = decisions["band"].setting, decisions["cell"].setting
    assert isinstance(band, BandSetting) and isinstance(cell, CellSetting)
    assert decisions["band"].prices["bits_per_second_of_air"] > 0.0
    assert cell.budget.time_fraction_sensing == (0.0, 0.3)
    assert cell.budget.price_sensing > 0.0
    assert cell.budget.resource_blocks == band.resource_blocks
    assert decisions["slot"].prices["bits_per_watt"] > 0.0


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([], "at least one"),
        ([Counting("a", 1.0), Counting("a", 0.1)], "each name once"),
        ([Counting("a", 0.1), Counting("b", 1.0)], "'b': period_s 1.0"),
        ([Counting("a", 0.0)], "above 0"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers: list[Counting], named: str) -> None:
    with pytest.raises(IsacError, match=named):
        Hierarchy(layers)


def test_time_does_not_go_back() -> None:
    hierarchy = Hierarchy([Counting("a", 0.1)])
    hierarchy.step(1.0, seen())
    with pytest.raises(IsacError, match=r"t = 0\.5"):
        hierarchy.step(0.5, seen())
    with pytest.raises(IsacError, match="accepted: a"):
        hierarchy.setting("b")


def test_an_observation_whose_shapes_do_not_fit_is_refused() -> None:
    with pytest.raises(IsacError, match="mean_gains"):
        seen(mean_gains=np.ones((2, 24)))
