"""The worker module: what runs in the instance's own process."""

from __future__ import annotations

import atexit
import uuid
from typing import Any

import torch
from starlette.routing import Route

from fairlead_agent.plugin import Budget, BudgetReply, Context
from fairlead_language_model.serving import BudgetTooSmall
from fairlead_language_model.serving.application import Application
from fairlead_language_model.serving.resident import return_free_memory

from .cost import CUDA_VARIANT, VARIANTS
from .engine.engine import Engine
from .engine.served_model import ServedModel
from .facts import Facts
from .group.membership import Membership
from .measurement import Measurement
from .metrics import EngineCollector
from .opening import Room, alike, group_settings, link_settings, open_within
from .peering import DoorSign, Peering
from .settings import Settings, read_settings
from .standing import standing

#: How long a drain waits for the requests under way; the host's own deadline may be shorter.
DRAIN_S = 60.0


class Worker:
    """One instance: a model and an engine under one budget."""

    def __init__(self) -> None:
        self._opened: tuple[ServedModel, Room] | None = None
        self._engine: Engine | None = None
        self._membership: Membership | None = None

    def prepare(self, context: Context) -> None:
        """Read the model into the budget.

        Raises:
            RuntimeError: the variant cannot be had here.
            BudgetTooSmall: the budget does not hold one sequence.
            LanguageModelError, ModelUnsupported: the checkpoint cannot be used; names the file and the part.
        """
        settings = read_settings(dict(context.config))
        _require(context.variant)
        torch.set_num_threads(_threads(settings, context.budget))
        context.progress(0.1, f"loading {settings.model}")
        self._opened = open_within(settings, context.variant, context.budget)
        context.progress(1.0, "loaded")
        model = self._opened[0]
        context.log.info(
            "model loaded",
            model=settings.model,
            kernels=model.backend.name,
            kv_pages=model.loaded.arena.own_capacity,
            page_bytes=model.plan.page_bytes,
        )

    def application(self, context: Context) -> Any:
        """Start the engine and return the ASGI application."""
        settings = self._settings = read_settings(dict(context.config))
        if self._opened is None:
            self.prepare(context)
        assert self._opened is not None
        model, self._room = self._opened
        engine = self._engine = Engine(model, warn=context.log.warning)
        engine.set_threads(_threads(settings, context.budget))
        self._measurement = Measurement(settings.max_sequences)
        # The interpreter must not end under a thread that computes; what is registered last is closed first.
        routes = self._join(context, settings, engine)
        atexit.register(engine.close)
        facts = Facts(engine, self._membership, context)
        facts.start()
        atexit.register(facts.close)
        application = Application(
            engine,
            context.workload,
            EngineCollector(engine, self._membership, context.workload, context.replica),
            aliases=(settings.model,),
            max_tokens=settings.max_tokens,
            registry=context.metrics,
        )
        return application.asgi(*routes)

    def _join(self, context: Context, settings: Settings, engine: Engine) -> list[Route]:
        """Look for the other replicas, where they can reach this one; returns the route by which they find it."""
        if context.host is None or settings.kv_format != "raw":
            why = "peers reach this node over the broker only" if context.host is None else "kv_format is not raw"
            context.log.info("served alone", reason=why)
            return []
        name = f"{context.replica:05d}.{uuid.uuid4().hex[:8]}"
        links, groups = link_settings(settings, context.host), group_settings(settings)
        membership = Membership(engine, name, links, groups, context.log.warning)
        sign = DoorSign(name, membership.door, alike(engine.model))
        peering = Peering(sign, context, membership.know, context.log.warning)
        peering.start()
        self._membership = membership
        atexit.register(membership.close)
        atexit.register(peering.close)
        return [sign.route()]

    def reconfigure(self, budget: Budget, deadline_s: float) -> BudgetReply:
        """Fit pages and threads into a budget; one that is too small is refused and the old one stays."""
        engine = self._running()
        try:
            engine.resize(self._room.engine_bytes(budget))
        except BudgetTooSmall:
            return self._reply(accepted=False, reason=str(self._room.refusal(budget, engine.least_bytes)))
        engine.set_threads(_threads(self._settings, budget))
        return_free_memory()
        return self._reply()

    def _reply(self, *, accepted: bool = True, reason: str = "") -> BudgetReply:
        engine, room = self._running(), self._room
        return BudgetReply(
            in_use=room.by_tier(engine.memory_in_use()),
            minimum=room.by_tier(engine.least_bytes),
            marginal_cost={room.tier: standing(engine, self._membership).marginal_cost},
            accepted=accepted,
            reason=reason,
        )

    def drain(self) -> None:
        """Take no new request and wait for those under way."""
        self._running().drain(DRAIN_S)

    def measurements(self) -> dict[str, float]:
        """Return throughput, latency and goodput since the last call."""
        return self._measurement.take(self._running().telemetry)

    def _running(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("the engine has not started: application() comes first")
        return self._engine


def _require(variant: str) -> None:
    if variant not in VARIANTS:
        raise RuntimeError(f"variant {variant}: accepted: {', '.join(VARIANTS)}")
    if variant == CUDA_VARIANT and not torch.cuda.is_available():
        raise RuntimeError(f"variant {variant}: torch finds no CUDA device")


def _threads(settings: Settings, budget: Budget) -> int:
    return settings.threads or max(1, min(256, int(budget.cores or 1)))


worker = Worker()
