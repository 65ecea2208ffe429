"""Collaborative stage: several cells divide users, targets, edge computing and backhaul; this is one cell's part."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairlead_isac.collaboration.cell import Agreeing
from fairlead_isac.collaboration.network import Agreement, CellLinks, SharedTarget, SharedTask, SharedUser, Sight
from fairlead_isac.errors import IsacError
from fairlead_isac.scenario import Budget, Cell, Channels, FloatArray, Target, User
from fairlead_isac.stages.data import Fairness, data, weights
from fairlead_isac.stages.decision import Decision, SensingResult
from fairlead_isac.stages.roster import Plan, Roster, illuminating
from fairlead_isac.stages.scene import Scene
from fairlead_isac.stages.sensing import needed_illumination
from fairlead_isac.stages.time_split import divide, target_weights

Settle = Callable[[SharedTask, Sequence[CellLinks]], Agreement]

#: Where a target's need names no refresh, its samples are to be processed within this.
DEADLINE_S = 0.1
#: Shares of time below this are no dwell.
LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True)
class Edge:
    """What lies behind the cells.

    Attributes:
        compute_cycles_per_s: of the server, for all cells.
        backhaul_bits_per_s: of this cell, for users' data and samples.
        bits_per_element: of a received resource element, after the receiving beam.
        cycles_per_operation: of a floating-point operation of the range-Doppler transform.
    """

    compute_cycles_per_s: float = 2e10
    backhaul_bits_per_s: float = 2e9
    bits_per_element: float = 32.0
    cycles_per_operation: float = 1.0

    def __post_init__(self) -> None:
        for name in ("compute_cycles_per_s", "backhaul_bits_per_s", "bits_per_element", "cycles_per_operation"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise IsacError(f"edge.{name} = {value!r}; accepted: a finite number above 0")


class CollaborativeStage(Roster):
    """One of several cells that serve users and sense targets together.

    Each decision first agrees with the partners: who serves which user, and how much of its time each cell gives to
    each target, so that their information adds up to the needs within backhaul and edge server. Then this cell serves
    its own users in space or in blocks, and illuminates its targets in turn. Without partners it is a cell alone.

    Args:
        cell: this one.
        users, targets: to begin with; those of all cells.
        partners: what the other cells can do, see `partners`.
        edge: backhaul and server.
        settle: makes the agreement; None: in this process from the partners' links, in a bounded number of rounds;
            ``Agreeing(deadline_s=...)`` bounds its time too; another may run `CellAgent` over a network.
        fairness: how this cell's users divide what is beyond their needs.
    """

    name = "collaborative"

    def __init__(
        self,
        cell: Cell,
        users: Iterable[User] = (),
        targets: Iterable[Target] = (),
        partners: Iterable[CellLinks] = (),
        edge: Edge | None = None,
        settle: Settle | None = None,
        fairness: Fairness = "balanced",
    ) -> None:
        super().__init__(cell, users, targets)
        self.edge, self._settle, self.fairness = edge or Edge(), settle or Agreeing(), fairness
        self.partners: tuple[CellLinks, ...] = ()
        self.agreement: Agreement | None = None
        """The last one."""
        self.meet(partners)

    def meet(self, partners: Iterable[CellLinks]) -> None:
        """Take what the other cells can do now; raises ``IsacError`` where a name is this cell's or is there twice."""
        listed = tuple(partners)
        names = [self.cell.name, *(links.name for links in listed)]
        if len(set(names)) < len(names):
            raise IsacError(f"partners: {names[1:]} of {names[0]!r}; accepted: other cells, each once")
        self.partners = listed

    def decide(self, channels: Channels, budget: Budget) -> Decision:
        """This cell's frame; rates and what targets get are those of all cells together."""
        self.agreement = None
        decision = super().decide(channels, budget)
        return decision if self.agreement is None else self._together(decision, self.agreement)

    def _plan(self, scene: Scene) -> Plan:
        task = self._task(scene)
        mine = self._links(scene, task)
        agreement = self._settle(task, [mine, *self.partners])
        self.agreement = agreement
        parts = self._parts(scene, agreement)
        own = [at for at, user in enumerate(scene.users) if agreement.serving.get(user.name) == self.cell.name]
        dwells, lines = [], [agreement.fallback] if agreement.fallback else []
        sensing = float(parts.sum())
        time = min(1.0 - sensing, 1.0) if own else 0.0
        gap = 0.0
        if own and time > LEAST_SHARE:
            part = replace(scene, users=tuple(scene.users[at] for at in own), channels=scene.channels[own])
            found = data(part, time, self.fairness)
            dwells.append(replace(found.dwell, fraction=time))
            gap = found.gap
            lines += [found.fallback] if found.fallback else []
        dwells += [illuminating(scene, at, float(part)) for at, part in enumerate(parts) if part > LEAST_SHARE]
        lines += [f"{name}: {why}" for name, why in agreement.unmet.items()]
        reason = f"{len(own)} of {len(scene.users)} users are this cell's of {1 + len(self.partners)}; "
        reason += f"{100 * sensing:.1f} % of its time illuminates"
        notes = {"rounds": float(agreement.rounds), "utility": agreement.utility}
        return Plan(tuple(dwells), reason, "; ".join(lines) or None, gap, notes)

    def _parts(self, scene: Scene, agreement: Agreement) -> FloatArray:
        """Share of this cell's time for each target, float [T]: as agreed, and the budget's least share in any case."""
        shares, least = agreement.time_share.get(self.cell.name, {}), scene.budget.time_fraction_sensing[0]
        agreed = np.array([shares.get(target.name, 0.0) for target in scene.targets])
        return divide(agreed, least, target_weights(scene)) if len(agreed) and agreed.sum() < least else agreed

    def _task(self, scene: Scene) -> SharedTask:
        """Information is counted in shares of what a target needs: the needed illumination over a refresh is 1."""
        users = tuple(
            SharedUser(user.name, float(weight), user.min_rate_bits_per_s)
            for user, weight in zip(scene.users, weights(scene), strict=True)
        )
        targets = tuple(
            SharedTarget(target.name, 1.0, target.required.refresh_s or DEADLINE_S) for target in scene.targets
        )
        return SharedTask(users, targets, self.edge.compute_cycles_per_s)

    def _links(self, scene: Scene, task: SharedTask) -> CellLinks:
        rates = _expected_rates(scene, 1 + len(self.partners))
        lit = scene.antennas * scene.budget.power_watts / np.maximum(needed_illumination(scene), 1e-30)
        elements = scene.resource_elements
        bits = elements * self.edge.bits_per_element
        cycles = 5.0 * elements * math.log2(max(elements, 2)) * self.edge.cycles_per_operation
        return CellLinks(
            self.cell.name,
            {user.name: float(rate) for user, rate in zip(task.users, rates, strict=True)},
            {
                target.name: Sight(min(float(value), 1e9), bits, cycles)
                for target, value in zip(task.targets, lit, strict=True)
            },
            self.edge.backhaul_bits_per_s,
            scene.budget.time_fraction_sensing[1],
        )

    def _together(self, decision: Decision, agreement: Agreement) -> Decision:
        """Put in what the partners add, and hold this cell's rates to what its backhaul brings."""
        elsewhere = {user for user, cell in agreement.serving.items() if cell != self.cell.name}
        own = {user: rate for user, rate in decision.rate_bits_per_s.items() if user not in elsewhere}
        room = self.edge.backhaul_bits_per_s - samples_bits_per_s(agreement, self.cell.name)
        brought = within_backhaul(own, {user.name: user.min_rate_bits_per_s for user in self.users}, room)
        decision = _short_of_backhaul(decision, sum(own.values()), room)
        rates = {
            user: agreement.rate_bits_per_s[user] if user in elsewhere else brought[user]
            for user in decision.rate_bits_per_s
        }
        unmet = tuple(line for line in decision.unmet if line.split(".", 1)[0] not in elsewhere - set(agreement.unmet))
        told = {line.split(".", 1)[0] for line in unmet}
        unmet += tuple(
            f"{user.name}.min_rate_bits_per_s: {brought[user.name]:.4g} over the backhaul; "
            f"asked {user.min_rate_bits_per_s:.4g}"
            for user in self.users
            if user.name in brought.keys() - told and brought[user.name] < user.min_rate_bits_per_s * (1 - 1e-6)
        )
        sensing = {name: self._fused(name, result, agreement) for name, result in decision.sensing.items()}
        return replace(decision, rate_bits_per_s=rates, unmet=unmet, sensing=sensing)

    def _fused(self, name: str, result: SensingResult, agreement: Agreement) -> SensingResult:
        """Independent estimates add their information, which is in proportion to the integrated SNR."""
        others = [cell for cell in agreement.sensing.get(name, ()) if cell != self.cell.name]
        if not others:
            return result
        required = next(target.required for target in self.targets if target.name == name)
        total = max(agreement.information[name], 1e-12)
        own = ("range_std_m", "velocity_std_m_per_s", "angle_std_rad")
        stds = {
            key: None if getattr(required, key) is None else getattr(required, key) / math.sqrt(total) for key in own
        }
        met = name not in agreement.unmet
        return replace(result, **stds, gated=result.gated and not met, unmet=() if met else result.unmet)


def samples_bits_per_s(agreement: Agreement, cell: str) -> float:
    """What a cell's received samples take of its backhaul: what it takes in all, less what its users get."""
    data = sum(agreement.rate_bits_per_s.get(user, 0.0) for user, by in agreement.serving.items() if by == cell)
    return max(0.0, agreement.backhaul_bits_per_s.get(cell, 0.0) - data)


def within_backhaul(rates: Mapping[str, float], least: Mapping[str, float], room: float) -> dict[str, float]:
    """Rates in bit/s that together fit into ``room``: least rates first, what is left in proportion to the rest.

    Args:
        rates: of users over the radio.
        least: that they must have; who is not named needs nothing.
        room: bit/s.
    """
    if sum(rates.values()) <= max(room, 0.0):
        return dict(rates)
    room = max(room, 0.0)
    need = {user: min(rate, least.get(user, 0.0)) for user, rate in rates.items()}
    asked = sum(need.values())
    if asked > 0 and asked >= room:
        return {user: value * room / asked for user, value in need.items()}
    part = (room - asked) / (sum(rates.values()) - asked)
    return {user: need[user] + part * (rate - need[user]) for user, rate in rates.items()}


def _short_of_backhaul(decision: Decision, rate: float, room: float) -> Decision:
    """The decision that says so where the backhaul carries less than the radio."""
    if rate <= room:
        return decision
    said = f"{decision.reason}; the backhaul brings {room / 1e6:.4g} of {rate / 1e6:.4g} Mbit/s"
    return replace(decision, reason=said)


def _expected_rates(scene: Scene, cells: int) -> FloatArray:
    """Bit/s that a user gets with all of a cell's time, float [K], as far as it can be said before it is known who else
    is served: zero forcing over the users that fall to a cell, S of N antennas' worth, each with 1 / S of the power.

    With S users in space each of them gets 1 / S of S log2(1 + snr (N - S + 1) / (N S)), so that shares of time stand
    for users in space as well.
    """
    streams = 1 if scene.selective else max(1, min(math.ceil(len(scene.users) / cells), scene.antennas))
    heard = (np.abs(scene.channels) ** 2).sum(axis=-1)
    heard = heard.mean(axis=1) if heard.ndim == 2 else heard
    left = (scene.antennas - streams + 1) / (scene.antennas * streams)
    snr = heard * scene.budget.power_watts * left / scene.noise_watts
    return scene.cell.numerology.bandwidth_hz * scene.downlink_fraction * streams * np.log2(1.0 + snr)
