"""Whom a stage serves, and the frame of a decision: what is the same in all stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fairlead_isac.errors import IsacError, NotFound
from fairlead_isac.scenario import Budget, Cell, Channels, Target, User
from fairlead_isac.stages.beams import matched, matched_directions
from fairlead_isac.stages.decision import Decision, Dwell
from fairlead_isac.stages.evaluation import evaluate, uplink_rates
from fairlead_isac.stages.scene import Scene, look

_LEAST_POWER, _BISECTIONS = 1e-4, 14
"""Of the cell's power, what sending users may reduce it to; halvings of its logarithm."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a stage's solver came to: dwells whose fractions sum up to at most 1."""

    dwells: tuple[Dwell, ...]
    reason: str
    fallback: str | None = None
    gap: float = 0.0
    notes: dict[str, float] = field(default_factory=dict)


class Roster(ABC):
    """Users and targets of a stage by name, in the order in which they came.

    Args:
        cell: who sends.
        users: to begin with.
        targets: to begin with.
    """

    name: str

    def __init__(self, cell: Cell, users: Iterable[User] = (), targets: Iterable[Target] = ()) -> None:
        self.cell = cell
        self._users: dict[str, User] = {}
        self._targets: dict[str, Target] = {}
        self._last: tuple[Scene, tuple[Dwell, ...]] | None = None
        for user in users:
            self.add_user(user)
        for target in targets:
            self.add_target(target)

    @property
    def users(self) -> tuple[User, ...]:
        """In the order in which they were added."""
        return tuple(self._users.values())

    @property
    def targets(self) -> tuple[Target, ...]:
        """In the order in which they were added."""
        return tuple(self._targets.values())

    def add_user(self, user: User) -> None:
        """Serve a user from the next decision on; raises ``IsacError`` where the name is taken."""
        _add(self._users, user, "user", self.name)

    def remove_user(self, name: str) -> None:
        """Stop serving a user; raises ``NotFound`` where nobody has the name."""
        _remove(self._users, name, "user", self.name)

    def add_target(self, target: Target) -> None:
        """Sense a target from the next decision on; raises ``IsacError`` where the name is taken."""
        _add(self._targets, target, "target", self.name)

    def remove_target(self, name: str) -> None:
        """Stop sensing a target; raises ``NotFound`` where none has the name."""
        _remove(self._targets, name, "target", self.name)

    def decide(self, channels: Channels, budget: Budget) -> Decision:
        """Schedule the next frame; what cannot be met, and which users were left out, is named in the decision.

        In full duplex the cell sends with no more power than lets sending users keep their least rates.

        A solver that fails numerically costs the optimum, not the frame: the previous frame's beams are sent again
        where the same users and targets are served, else maximum-ratio beams.
        """
        scene = look(self.cell, self.users, self.targets, channels, budget)
        allowed = self._allowed(scene)
        if allowed != scene.budget:
            scene = look(self.cell, self.users, self.targets, channels, allowed)
        if not scene.users and not scene.targets:
            self._last = None
            return evaluate(self.name, scene, (), reason="nobody to serve and nothing to sense: nothing is sent")
        try:
            plan = self._plan(scene)
            _check(plan)
        except (ArithmeticError, np.linalg.LinAlgError, IsacError) as error:
            plan = self._safe(scene, error)
        self._last = (scene, plan.dwells)
        return evaluate(
            self.name,
            scene,
            plan.dwells,
            reason=plan.reason,
            fallback=plan.fallback,
            gap=plan.gap,
            notes=plan.notes,
        )

    def _allowed(self, scene: Scene) -> Budget:
        """The budget with no more power than users that send allow."""
        return replace(scene.budget, power_watts=min(scene.budget.power_watts, heard_power(scene)))

    @abstractmethod
    def _plan(self, scene: Scene) -> Plan:
        """Decide for a scene with somebody to serve or something to sense."""

    def _safe(self, scene: Scene, error: Exception) -> Plan:
        why = f"solver failed ({type(error).__name__}: {error})"
        if self._last is not None and _same(self._last[0], scene):
            dwells = tuple(_within(dwell, scene.budget.power_watts) for dwell in self._last[1])
            return Plan(dwells, "the previous frame's beams again", f"{why}; previous decision kept")
        return Plan(safe_dwells(scene), "maximum-ratio beams of equal power", f"{why}; maximum-ratio beams")


def heard_power(scene: Scene) -> float:
    """Power in W at which, in full duplex, sending users are heard with their least rates; all where none does."""
    whole = scene.budget.power_watts
    least = np.array([user.min_rate_bits_per_s for user in scene.senders])

    def heard(power_watts: float) -> bool:
        return bool((uplink_rates(scene, power_watts)[0] >= least).all())

    low, high = _LEAST_POWER * whole, whole
    if scene.budget.duplex == "half" or not least.any() or heard(whole) or not heard(low):
        return whole
    for _ in range(_BISECTIONS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if heard(middle) else (low, middle)
    return low


def safe_dwells(scene: Scene) -> tuple[Dwell, ...]:
    """Half of the time for users by maximum-ratio beams, half for targets in turn; all where there is only one kind."""
    dwells: list[Dwell] = []
    time = 0.5 if scene.users and scene.targets else 1.0
    if scene.users and scene.selective:
        dwells.append(_turns(scene, time))
    elif scene.users:
        beams = matched(scene.channels, scene.budget.power_watts)
        dwells.append(Dwell(time, beams, tuple(user.name for user in scene.users)))
    dwells += [illuminating(scene, at, time / len(scene.targets)) for at in range(len(scene.targets))]
    return tuple(dwells)


def illuminating(scene: Scene, at: int, fraction: float) -> Dwell:
    """All power into one beam at a target."""
    beam = scene.steering[at] * np.sqrt(scene.budget.power_watts / scene.antennas)
    return Dwell(fraction, beam[None, :], (None,), target=scene.targets[at].name)


def _turns(scene: Scene, time: float) -> Dwell:
    """Blocks to users in turn, power alike."""
    users, blocks = scene.channels.shape[:2]
    share = (np.arange(blocks) % users == np.arange(users)[:, None]).astype(np.float64)
    power = share * (scene.budget.power_watts / blocks)
    return Dwell(time, matched_directions(scene.channels), tuple(user.name for user in scene.users), None, power, share)


def _within(dwell: Dwell, power_watts: float) -> Dwell:
    """The same beams with no more than the power."""
    sent = dwell.sent_watts
    if sent <= power_watts:
        return dwell
    if dwell.power_watts is not None:
        return replace(dwell, power_watts=dwell.power_watts * (power_watts / sent))
    return replace(dwell, beamformers=dwell.beamformers * np.sqrt(power_watts / sent))


def _same(before: Scene, now: Scene) -> bool:
    """The same users, targets and shapes."""
    names = [[each.name for each in (*scene.users, *scene.targets)] for scene in (before, now)]
    return names[0] == names[1] and before.channels.shape == now.channels.shape


def _check(plan: Plan) -> None:
    """Raises ``ArithmeticError`` where a solver's answer is not finite or has more time than there is."""
    time = sum(dwell.fraction for dwell in plan.dwells)
    if not time <= 1 + 1e-6:
        raise ArithmeticError(f"dwells take {time:.4g} of the time")
    for dwell in plan.dwells:
        power = dwell.power_watts
        if not np.isfinite(dwell.beamformers).all() or (power is not None and not np.isfinite(power).all()):
            raise ArithmeticError("beams are not finite")


def _add(items: dict[str, Any], item: Any, kind: str, stage: str) -> None:
    if item.name in items:
        raise IsacError(f"{kind} {item.name!r} is already in stage {stage!r}; accepted: a name that is not taken")
    items[item.name] = item


def _remove(items: dict[str, Any], name: str, kind: str, stage: str) -> None:
    if name not in items:
        raise NotFound(f"{kind} {name!r} is not in stage {stage!r}; accepted: {_names(items)}")
    del items[name]


def _names(items: Mapping[str, Any]) -> str:
    return ", ".join(items) or "nothing, there is none"
