"""The queues of a link at the rates of the schedule: what a decision gives a user is what leaves towards it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..settings import Settings


class Queues(Protocol):
    """Takes rates after each decision, without waiting."""

    def follow(self, rates_bits_per_s: Mapping[str, float]) -> None: ...

    def traffic(self) -> Mapping[str, Mapping[str, float]]:
        """What passed lately by user: ``loss``, ``throughput_bits_per_s``, and ``latency_s`` of what waits."""
        ...

    def close(self) -> None: ...

    def body(self) -> dict[str, Any] | None:
        """As JSON; None where nothing is shaped."""
        ...


class NoQueues:
    """Nothing is shaped."""

    def follow(self, rates_bits_per_s: Mapping[str, float]) -> None:
        """Do nothing."""

    def traffic(self) -> Mapping[str, Mapping[str, float]]:
        """Nothing is known."""
        return {}

    def close(self) -> None:
        """Do nothing."""

    def body(self) -> None:
        """Nothing to tell."""


class ShapedQueues:
    """A class for each user that has an address, on one link of this machine."""

    def __init__(self, settings: Settings, warn: Callable[..., object]) -> None:
        from fairlead_bridge.shaping.follow import RateFollower
        from fairlead_bridge.shaping.match import Match

        assert settings.shaping is not None
        matches = {each.name: (Match(destination=each.address),) for each in settings.users if each.address}
        self._follower = RateFollower(
            settings.shaping.link,
            matches,
            directory=settings.shaping.directory,
            warn=lambda problem: warn("link not shaped", problem=problem),
        )

    def follow(self, rates_bits_per_s: Mapping[str, float]) -> None:
        """These rates from now on."""
        self._follower.follow(rates_bits_per_s)

    def traffic(self) -> Mapping[str, Mapping[str, float]]:
        """Of each user that has an address."""
        return self._follower.following.traffic

    def close(self) -> None:
        """Take the shaping off."""
        self._follower.close()

    def body(self) -> dict[str, Any]:
        """What is in force."""
        found = self._follower.following
        rates = dict(found.rates_bits_per_s)
        return {
            "rate_bits_per_s": rates,
            "traffic": {name: dict(values) for name, values in found.traffic.items() if name in rates},
            "applied": found.applied,
            "failed": found.failed,
            "problem": found.problem,
        }


def queues_of(settings: Settings, warn: Callable[..., object]) -> Queues:
    """What shapes, as the workload's config says."""
    return NoQueues() if settings.shaping is None else ShapedQueues(settings, warn)
