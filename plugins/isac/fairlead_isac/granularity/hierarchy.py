"""All layers together: each decides when its period begins, within what the layer above has set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.layer import Answer, Layer, LayerDecision, Observation

#: Of a period: times are sums of slots, and their rounding must not cost a period.
ROUNDING = 1e-6


class Hierarchy:
    """Layers from the coarsest to the finest.

    Periods are counted from time 0, so that layers stay in step however late they are asked. A layer whose solver fails
    keeps its last setting, and its decision says so; the layers below go on.

    Args:
        layers: coarsest first.

    Raises:
        IsacError: there is none, a name is there twice, or a period is not above 0 or longer than that of the layer
            above.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        if not layers:
            raise IsacError("layers: none; accepted: at least one")
        names = [layer.name for layer in layers]
        if len(set(names)) < len(names):
            raise IsacError(f"layers: {names}; accepted: each name once")
        longest = math.inf
        for layer in layers:
            if not 0.0 < layer.period_s <= longest:
                raise IsacError(
                    f"layer {layer.name!r}: period_s {layer.period_s!r}; accepted: above 0, at most {longest} s"
                )
            longest = layer.period_s
        self.layers = tuple(layers)
        self._answers: dict[str, tuple[float, Answer]] = {}
        self._periods: dict[str, int] = {}
        self._now = -math.inf

    def setting(self, layer: str) -> Any:
        """What a layer has set last; None: nothing yet.

        Raises:
            IsacError: there is no such layer.
        """
        if layer not in [each.name for each in self.layers]:
            raise IsacError(f"layer {layer!r}; accepted: {', '.join(each.name for each in self.layers)}")
        return self._answers[layer][1].setting if layer in self._answers else None

    def step(self, t: float, observation: Observation) -> list[LayerDecision]:
        """Let all layers decide whose period has begun by ``t``; coarsest first.

        Raises:
            IsacError: time goes back.
        """
        if not t >= self._now:
            raise IsacError(f"t = {t!r} s; accepted: at least {self._now} s, the time of the last step")
        self._now, above, decisions = t, None, []
        for layer in self.layers:
            period = math.floor(t / layer.period_s + ROUNDING)
            if period > self._periods.get(layer.name, -1):
                decisions.append(self._decide(layer, period, t, observation, above))
            above = self._answers[layer.name][1].setting
        return decisions

    def _decide(self, layer: Layer, period: int, t: float, observation: Observation, above: Any) -> LayerDecision:
        before = self._periods.get(layer.name)
        self._periods[layer.name] = period
        fallback = None
        try:
            answer = layer.decide(t, observation, above)
            self._answers[layer.name] = (t, answer)
        except Exception as error:  # a solver may fail in any way; its layer must not take the radio down
            fallback = self._kept(layer, t, observation, error)
            answer = self._answers[layer.name][1]
        return LayerDecision(
            layer.name,
            t,
            (period + 1) * layer.period_s,
            answer.setting,
            answer.reason,
            answer.prices,
            fallback,
            0 if before is None else period - before - 1,
        )

    def _kept(self, layer: Layer, t: float, observation: Observation, error: Exception) -> str:
        """Leave the last answer in force, or the safe one; say which and why."""
        why = f"{type(error).__name__}: {error}" if not isinstance(error, IsacError) else str(error)
        if layer.name in self._answers:
            return f"kept the setting of {self._answers[layer.name][0]:g} s: {why}"
        self._answers[layer.name] = (t, layer.default(observation))
        return f"safe setting, there is none before: {why}"
