"""Which instances give which layers away, and which of them form a pipeline then (KunServe, "drop plan").

A group is a set of instances that together hold one full copy of the layers. Two groups that become one need one copy
only, so each merge frees the bytes of a whole model. Merging the smallest groups keeps pipelines short: a heap by size,
O(N log N) for N instances. Which stage keeps what is decided once, for the groups that result: each keeps a run of
the layers that it holds already, so that nothing has to be fetched, and the fullest stage is as small as possible.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, slots=True)
class Stage:
    """An instance and the layers that it holds: [first, end)."""

    instance: str
    first: int
    end: int

    @property
    def layers(self) -> range:
        """The layers."""
        return range(self.first, self.end)


Group = tuple[Stage, ...]
"""The stages of one full copy, in the order of their layers."""


@dataclass(frozen=True, slots=True)
class DropPlan:
    """What to do.

    Attributes:
        epoch: grows with every plan; who has seen a higher one refuses this one.
        groups: all groups afterwards, also those that stay as they are.
        dropped: layers that each instance gives away; instances without any are left out.
        freed_bytes: of all instances together.
        enough: whether that is what was asked for. If not: recompute, swap, and ask for another instance.
    """

    epoch: int
    groups: tuple[Group, ...]
    dropped: Mapping[str, tuple[int, ...]]
    freed_bytes: int
    enough: bool


def plan_drop(
    groups: Sequence[Group],
    layer_bytes: Sequence[int],
    required_bytes: int,
    epoch: int,
    *,
    most_stages: int | None = None,
) -> DropPlan:
    """Merge groups until enough is freed or nothing is left to merge.

    Args:
        groups: as they are; each covers all layers exactly once.
        layer_bytes: of each layer's parameters.
        required_bytes: what has to be freed.
        epoch: of the plan.
        most_stages: groups do not get larger than that.

    Returns:
        the plan; without any merge if nothing is required.

    Raises:
        ValueError: a group does not cover the layers once, or an instance is in two groups.
    """
    _refuse_gaps(groups, len(layer_bytes))
    whole, freed = sum(layer_bytes), 0
    # The second entry makes the order one: groups formed earlier come first among equals.
    heap = [(len(group), place, [group]) for place, group in enumerate(groups)]
    heapq.heapify(heap)
    formed = len(heap)
    while freed < required_bytes and len(heap) > 1:
        size, _, first = heapq.heappop(heap)
        other_size, _, second = heap[0]
        if most_stages is not None and size + other_size > most_stages:
            heapq.heappush(heap, (size, formed, first))
            break
        heapq.heapreplace(heap, (size + other_size, formed, first + second))
        formed += 1
        freed += whole
    merged = tuple(_arranged(parts, layer_bytes) for _, _, parts in sorted(heap, key=lambda item: item[1]))
    return DropPlan(epoch, merged, _dropped(groups, merged), freed, freed >= required_bytes)


def most_freeable(instances: int, groups: int, model_bytes: int) -> int:
    """Return (N - G) W: what N instances have freed once they are G groups."""
    return (instances - groups) * model_bytes


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """How one group becomes two.

    Attributes:
        epoch: as in DropPlan.
        group: what it was.
        parts: what it becomes, each with a full copy.
        fetched: layers that each instance fetches from whom holds them in the group. Nothing is given away.
    """

    epoch: int
    group: Group
    parts: tuple[Group, Group]
    fetched: Mapping[str, tuple[int, ...]]


def plan_restore(groups: Sequence[Group], layers: int, epoch: int) -> RestorePlan:
    """Choose the group with the most stages and split it to two, each with a full copy again.

    Every other stage goes to the same part: neighbours then share the layers between them, and what each fetches is
    little.

    Raises:
        ValueError: no group has two stages.
    """
    chosen = max(groups, key=len, default=())
    if len(chosen) < 2:
        raise ValueError("no group has two stages: nothing was dropped, so nothing is restored")
    parts = (_spread(chosen[0::2], layers), _spread(chosen[1::2], layers))
    had = {stage.instance: stage.layers for stage in chosen}
    fetched = {
        stage.instance: tuple(layer for layer in stage.layers if layer not in had[stage.instance])
        for part in parts
        for stage in part
    }
    return RestorePlan(epoch, chosen, parts, {name: needs for name, needs in fetched.items() if needs})


def _spread(stages: Group, layers: int) -> Group:
    """Extend the stages' runs to all layers: as even as can be while each keeps what it has."""
    ends = [
        min(max(round(layers * (place + 1) / len(stages)), stage.end), following.first)
        for place, (stage, following) in enumerate(pairwise(stages))
    ] + [layers]
    return tuple(
        Stage(stage.instance, start, end) for stage, start, end in zip(stages, [0, *ends[:-1]], ends, strict=True)
    )


def _arranged(parts: list[Group], layer_bytes: Sequence[int]) -> Group:
    """Give each stage of some groups a run of the layers that it holds, the fullest as small as possible.

    The stages stand in the order of their runs' middles. least[i][l] is the smallest possible bytes of the fullest of
    the first i stages, if they hold layers [0, l); a stage may end up with none.
    """
    if len(parts) == 1:
        return parts[0]
    stages = sorted((stage for group in parts for stage in group), key=lambda stage: stage.first + stage.end)
    before = np.concatenate([[0], np.cumsum(layer_bytes)]).astype(float)
    layers = len(layer_bytes)
    # A little for every stage's distance to the mean makes stages even where another one is the fullest anyway.
    mean, scale = before[-1] / len(stages), 1e-6 / max(1.0, before[-1])
    least = np.full(layers + 1, np.inf)
    least[0] = 0.0
    chosen: list[np.ndarray] = []
    for stage in stages:
        size = before[None, :] - before[:, None]
        start, end = np.arange(layers + 1)[:, None], np.arange(layers + 1)[None, :]
        possible = (start == end) | ((start < end) & (start >= stage.first) & (end <= stage.end))
        cost = np.maximum(least[:, None], size) + np.abs(size - mean) * scale
        cost = np.where(possible & np.isfinite(least[:, None]), cost, np.inf)
        chosen.append(cost.argmin(axis=0))
        least = cost.min(axis=0)
    end, runs = layers, []
    for stage, best in zip(reversed(stages), reversed(chosen), strict=True):
        runs.append(Stage(stage.instance, int(best[end]), int(end)))
        end = best[end]
    return tuple(reversed(runs))


def _dropped(before: Sequence[Group], after: Sequence[Group]) -> dict[str, tuple[int, ...]]:
    kept = {stage.instance: stage.layers for group in after for stage in group}
    gone = {
        stage.instance: tuple(layer for layer in stage.layers if layer not in kept[stage.instance])
        for group in before
        for stage in group
    }
    return {name: layers for name, layers in gone.items() if layers}


def _refuse_gaps(groups: Sequence[Group], layers: int) -> None:
    names = [stage.instance for group in groups for stage in group]
    if len(names) != len(set(names)):
        raise ValueError(f"instances {sorted({name for name in names if names.count(name) > 1})} are in two places")
    for group in groups:
        if [layer for stage in group for layer in stage.layers] != list(range(layers)):
            held = [(stage.instance, stage.first, stage.end) for stage in group]
            raise ValueError(f"group {held}: accepted: all of layers 0 to {layers - 1}, once and in order")
