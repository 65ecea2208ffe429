"""Time between users and targets: dwells for data and for illumination in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fairlead_isac.scenario import FloatArray
from fairlead_isac.stages.data import Data, needed_efficiency, weights
from fairlead_isac.stages.decision import Dwell
from fairlead_isac.stages.roster import Plan, illuminating
from fairlead_isac.stages.scene import Scene
from fairlead_isac.stages.sensing import block_illumination, needed_illumination

MakeData = Callable[[float], Data]
"""From users' share of time to their dwell of fraction 1."""


def split_time(scene: Scene, make: MakeData) -> Plan:
    """Targets get the time that their needs take beyond what data's echoes give; prices divide what is left.

    The value of a split is linear in the time for sensing, so that what is left goes to one side whole: to targets as
    far as users' least rates and the budget's largest share allow, or to users.
    """
    if not scene.users:
        return sense_only(scene)
    if not scene.targets:
        found = make(1.0)
        return Plan((found.dwell,), "no target: all time carries data", found.fallback, found.gap)
    found = make(1.0)
    wanted = _time_needed(scene, found.dwell)
    low, high = scene.budget.time_fraction_sensing
    time = min(max(float(wanted.sum()), low), high)
    if time < high and _sensing_pays(scene, found):
        time = max(time, min(high, 1 - float(_time_of_least_rates(scene, found))))
    if time > 0:
        found = make(1 - time) if time < 1 else found
    parts = divide(wanted, time, target_weights(scene))
    dwells = [replace(found.dwell, fraction=1 - time)] if time < 1 else []
    dwells += [illuminating(scene, at, float(part)) for at, part in enumerate(parts) if part > 0]
    lines = [found.fallback] if found.fallback else []
    if wanted.sum() > high * (1 + 1e-9):
        lines.append(f"targets need {wanted.sum():.3g} of the time; the budget allows {high:.3g}")
    reason = f"{100 * time:.1f} % of the time illuminates {len(scene.targets)} targets, the rest carries data"
    return Plan(tuple(dwells), reason, "; ".join(lines) or None, found.gap, {"time_fraction": time})


def sense_only(scene: Scene) -> Plan:
    """No users: as much of the time as the budget allows illuminates, first by needs, then by weight."""
    time = scene.budget.time_fraction_sensing[1]
    wanted = needed_illumination(scene) / (scene.antennas * scene.budget.power_watts)
    parts = divide(wanted, time, target_weights(scene))
    dwells = tuple(illuminating(scene, at, float(part)) for at, part in enumerate(parts) if part > 0)
    fallback = None
    if wanted.sum() > time * (1 + 1e-9):
        fallback = f"targets need {wanted.sum():.3g} of the time; the budget allows {time:.3g}"
    return Plan(dwells, f"no user: {100 * time:.0f} % of the time illuminates", fallback)


def divide(wanted: FloatArray, total: float, weight: FloatArray) -> FloatArray:
    """Divide ``total`` by needs and, what is beyond them, by weight; short needs shrink alike."""
    wanted = np.where(np.isfinite(wanted), wanted, 1.0)
    asked = float(wanted.sum())
    if asked >= total:
        return wanted * (total / asked) if asked > 0 else wanted
    return wanted + (total - asked) * weight / weight.sum()


def target_weights(scene: Scene) -> FloatArray:
    return np.array([target.weight for target in scene.targets])


def _lit(scene: Scene, dwell: Dwell) -> FloatArray:
    """Mean illumination of each target by a dwell, float [T]."""
    return np.array([block_illumination(dwell, towards).mean() for towards in scene.steering])


def _time_needed(scene: Scene, dwell: Dwell) -> FloatArray:
    """Share of time with all power on each target that tops up what data's echoes give; float [T]."""
    need, spill = needed_illumination(scene), _lit(scene, dwell)
    most = scene.antennas * scene.budget.power_watts
    return np.where(need > spill, (need - spill) / np.maximum(most - spill, 1e-9 * most), 0.0)


def _sensing_pays(scene: Scene, found: Data) -> bool:
    """Whether a share of time is worth more with targets than with users, by the budget's prices."""
    most = scene.antennas * scene.budget.power_watts
    share = target_weights(scene) / target_weights(scene).sum()
    gain = scene.budget.price_sensing * float(share @ (1 - _lit(scene, found.dwell) / most))
    return gain > scene.budget.price_rate * float(weights(scene) @ found.efficiency)


def _time_of_least_rates(scene: Scene, found: Data) -> float:
    """Share of time that users' least rates take, as the dwell serves them; at most 1."""
    need = needed_efficiency(scene)
    taken = np.divide(need, found.efficiency, out=np.ones_like(need), where=found.efficiency > 0)
    return float(min(1.0, taken.max())) if need.any() else 0.0
