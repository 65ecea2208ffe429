"""Guarantees that cannot be kept are refused, not promised."""

from __future__ import annotations

import pytest

from fairlead_agent.messages import PlacementPolicy
from fairlead_agent.placement import GuaranteeError, check


def test_at_most_once_with_stop_is_kept() -> None:
    check(PlacementPolicy())


def test_an_illegal_pair_lists_the_legal_ones() -> None:
    with pytest.raises(GuaranteeError, match=r"at-most-once \+ stop, available \+ stop, available \+ keep"):
        check(PlacementPolicy(guarantee="at-most-once", on_partition="keep"))


@pytest.mark.parametrize("action", ["stop", "keep"])
def test_available_names_what_it_would_take(action: str) -> None:
    policy = PlacementPolicy.model_validate({"guarantee": "available", "on_partition": action})
    with pytest.raises(GuaranteeError, match="epochs delegated to the site"):
        check(policy)
