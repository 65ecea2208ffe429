"""The worker module: what runs in the instance's own process."""

from __future__ import annotations

from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fairlead_agent.plugin import Budget, BudgetReply, Context

from .cost import VARIANTS, generation_bytes, memory_bytes, room_bytes, work_bytes
from .networks.running import WEIGHTS, shipped_stylizer, student_file
from .pictures import Limits
from .service.application import Application
from .service.generating import Generator
from .service.generation import KINDS
from .service.stylist import Stylist
from .service.varied import Searcher
from .settings import Settings, read_settings
from .stylizer import NetworkStylizer, Style

_KEPT = 256


class Worker:
    """One instance: one network and what answers with it."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._stylizer: NetworkStylizer | None = None
        self._variant = ""
        self._draining = False
        self._spent: deque[float] = deque(maxlen=_KEPT)

    def prepare(self, context: Context) -> None:
        """Load the network and stylize a small picture, so that the first request finds it warm.

        Raises:
            RuntimeError: there is no such variant.
            StylizationError: the weights cannot be used, or ONNX Runtime is not installed.
        """
        if context.variant not in VARIANTS:
            raise RuntimeError(f"variant {context.variant}: accepted: {', '.join(VARIANTS)}")
        self._settings = settings = read_settings(dict(context.config))
        context.progress(0.1, "loading the network")
        threads = settings.threads or max(1, int(context.budget.cores or 1))
        self._variant = context.variant
        self._stylizer = shipped_stylizer(context.variant, threads, _folder(settings), runtime=settings.runtime)
        context.progress(0.7, "warming up")
        small = np.linspace(0, 1, 64 * 64 * 3, dtype=np.float32).reshape(64, 64, 3)
        self._stylizer.stylize(small, [Style(small)])
        context.progress(1.0, "ready")
        context.log.info("network loaded", variant=context.variant, weights=self._stylizer.weights_digest[:12])

    def application(self, context: Context) -> Any:
        """Return the ASGI application."""
        if self._settings is None or self._stylizer is None:
            self.prepare(context)
        assert self._settings is not None and self._stylizer is not None
        settings = self._settings
        limits = Limits(settings.max_pixels, settings.max_bytes, "`max_pixels` in the workload's config")
        clip = None if settings.clip is None else Path(settings.clip)
        weights = student_file(self._variant, _folder(settings))
        searcher = Searcher(weights, self._stylizer, clip, settings.diverse_pixels)
        return Application(
            Stylist(self._stylizer, limits, searcher),
            Generator(limits, _generators(settings), settings.diverse_pixels),
            max_in_flight=settings.max_in_flight,
            max_waiting=settings.max_waiting,
            work_bytes=lambda pixels, results: work_bytes(settings, self._variant, pixels, results),
            generation_bytes=lambda pixels, results: generation_bytes(settings, pixels, results),
            room_bytes=room_bytes(settings, self._variant, _searches()),
            max_bytes=settings.max_bytes,
            max_diverse=settings.max_diverse,
            registry=context.metrics,
            accepting=lambda: not self._draining,
            spent=self._spent.append,
        ).asgi()

    def drain(self) -> None:
        """Take no new request."""
        self._draining = True

    def reconfigure(self, budget: Budget, deadline_s: float) -> BudgetReply:
        """Say what is needed: the largest picture that is accepted has to fit."""
        least = {} if self._settings is None else {"dram": memory_bytes(self._settings, self._variant, _searches())}
        limit = budget.memory_bytes.get("dram")
        fits = limit is None or least.get("dram", 0) <= limit
        reason = "" if fits else f"pictures of max_pixels need {least['dram']} bytes of dram"
        return BudgetReply(in_use=least, minimum=least, accepted=fits, reason=reason)

    def measurements(self) -> dict[str, float]:
        """Return the time of pictures since the last call; nothing where there was none."""
        spent = sorted(self._spent)
        self._spent.clear()
        if not spent:
            return {}
        return {"latency_p90_s": spent[int(0.9 * (len(spent) - 1))], "throughput_per_s": len(spent) / sum(spent)}


def _searches() -> bool:
    return find_spec("torch") is not None


def _folder(settings: Settings) -> Path:
    return WEIGHTS if settings.weights is None else Path(settings.weights)


def _generators(settings: Settings) -> dict[str, Path]:
    """Files by what they do, of those that are set."""
    named = {kind: getattr(settings, kind.replace("-", "_")) for kind in KINDS}
    return {kind: Path(path) for kind, path in named.items() if path is not None}


worker = Worker()
