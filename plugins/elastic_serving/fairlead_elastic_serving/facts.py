"""Tells the resource graph how the instance stands, so that everyone sees it (`fairlead get`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from .engine.engine import Engine
from .group.membership import Membership
from .standing import standing

INTERVAL_S = 1.0
#: What has not changed is told again after so long: an agent that came back has not heard it.
REPEAT_S = 20.0
#: Goodput is counted over this long.
GOODPUT_WINDOW_S = 10.0


class Publisher(Protocol):
    """The part of a worker's context that takes facts."""

    @property
    def instance(self) -> str:
        """The instance's vertex."""
        ...

    def publish_fact(self, vertex: str, attribute: str, value: float, uncertainty: float = 0.0) -> None:
        """Take a fact."""
        ...


class Facts:
    """A thread that looks at an engine every second and tells what has changed."""

    def __init__(
        self,
        engine: Engine,
        membership: Membership | None,
        publisher: Publisher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._membership = engine, membership
        self._publisher, self._clock = publisher, clock
        self._told: dict[str, tuple[float, float]] = {}
        self._goods: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="facts", daemon=True)

    def start(self) -> None:
        """Tell from now on."""
        self._thread.start()

    def close(self) -> None:
        """Tell no more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> dict[str, float]:
        """Return how the instance stands."""
        now = standing(self._engine, self._membership)
        return {
            "group_instances": float(now.group),
            "dropped_layers": float(now.dropped_layers),
            "plan_epoch": float(now.plan_epoch),
            "kv_usage": now.usage,
            "kv_capacity_bytes": float(now.kv_capacity_bytes),
            "requests_running": float(now.running),
            "requests_waiting": float(now.waiting),
            "goodput_per_s": self._goodput(self._clock()),
        }

    def tell(self) -> None:
        """Publish what has changed since it was told, or was told long ago."""
        now_s = self._clock()
        for name, value in self._changed(self.look(), now_s).items():
            self._told[name] = (value, now_s)
            self._publisher.publish_fact(self._publisher.instance, name, value)

    def _changed(self, values: Mapping[str, float], now_s: float) -> dict[str, float]:
        old = {name: value for name, (value, at_s) in self._told.items() if now_s - at_s < REPEAT_S}
        return {name: value for name, value in values.items() if old.get(name) != value}

    def _goodput(self, now_s: float) -> float:
        self._goods.append((now_s, self._engine.telemetry.good))
        while len(self._goods) > 2 and self._goods[1][0] <= now_s - GOODPUT_WINDOW_S:
            self._goods.pop(0)
        (begin_s, before), (_, after) = self._goods[0], self._goods[-1]
        return (after - before) / (now_s - begin_s) if now_s > begin_s else 0.0

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            self.tell()
