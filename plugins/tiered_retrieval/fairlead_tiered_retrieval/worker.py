"""The worker module: what runs in the instance's own process."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

from fairlead_agent.plugin import Budget, BudgetReply, Context

from .advisor.policy import Advised
from .cost import VARIANTS, base_bytes
from .embedding.lazy import LazyModel
from .service.application import Application
from .service.facts import Facts
from .service.local import Local
from .service.measurement import Measurement
from .service.metrics import StoreCollector
from .service.placement import Placement, Regions, StaysInTier, tier_of
from .service.pressure import Pressure
from .settings import Settings, read_settings
from .shards.joining import Replica
from .shards.peers import Peers
from .shards.sharded import Sharded
from .store.settings import StoreSettings
from .store.store import Store
from .tiers import open_region


class Worker:
    """One instance: a store under one budget."""

    def __init__(self) -> None:
        self._local: Local | None = None
        self._draining = False
        self._settled: set[str] = set()

    def prepare(self, context: Context) -> None:
        """Open the store: what its log holds is applied.

        Raises:
            RuntimeError: the variant cannot be had here.
            TieredRetrievalError: the store cannot be opened; names the file and what can be saved.
        """
        settings = read_settings(dict(context.config))
        if context.variant not in VARIANTS:
            raise RuntimeError(f"variant {context.variant}: accepted: {', '.join(VARIANTS)}")
        context.progress(0.1, "opening the store")
        self._local = _opened(context, settings)
        names = self._local.store.names()
        for number, name in enumerate(names, 1):
            context.progress(0.1 + 0.9 * number / len(names), f"opening {name}")
            self._local.store.collection(name)
        context.progress(1.0, "opened")
        context.log.info("store opened", folder=str(self._local.store.folder), collections=len(names))

    def application(self, context: Context) -> Any:
        """Return the ASGI application."""
        settings = read_settings(dict(context.config))
        if self._local is None:
            self.prepare(context)
        local = self._running()
        self._pressure = Pressure(local.store, local.placement, base_bytes(settings))
        self._variant_tier = VARIANTS[context.variant]
        self._measurement = Measurement()
        facts = Facts(local, context, settings.report_s, self.settle, context.log.warning)
        facts.start()
        # The interpreter must not end under a thread that writes; what is registered last is closed first.
        atexit.register(local.close)
        atexit.register(facts.close)
        return self._routes(context, settings, local)

    def _routes(self, context: Context, settings: Settings, local: Local) -> Any:
        peers = Peers(context.replica, context)
        own = Replica(local, context.log.warning, peers.known)
        backend = Sharded(own, peers, settings.shards, settings.scatter)
        application = Application(
            backend,
            own=own,
            registry=context.metrics,
            accepting=lambda: not self._draining,
            most_in_flight=settings.max_in_flight,
        )
        context.metrics.register(StoreCollector(local, application, context.workload, context.replica))
        return application.asgi(lambda _: peers.following(backend.join))

    def settle(self) -> None:
        """Move collections that have grown enough to the tier of the variant that was awarded."""
        local = self._running()
        if self._variant_tier == "dram":
            return
        for name in local.store.names():
            status = local.store.collection(name).status()
            if name in self._settled or status.count < local.store.settings.index_from:
                continue
            # Once: whoever moves it later has a reason.
            self._settled.add(name)
            if tier_of(status.plan) == "dram":
                local.placement.move(name, self._variant_tier)

    def reconfigure(self, budget: Budget, deadline_s: float) -> BudgetReply:
        """Fit into a budget: collections move between main memory and lower tiers while searches go on."""
        self._running()
        return self._pressure.fit(budget)

    def drain(self) -> None:
        """Take no new request; what was acknowledged is durable already."""
        self._draining = True
        for name in self._running().store.names():
            self._running().store.collection(name).checkpoint()

    def measurements(self) -> dict[str, float]:
        """Return latency and throughput since the last call."""
        return self._measurement.take(self._running().total)

    def _running(self) -> Local:
        if self._local is None:
            raise RuntimeError("the store is not open: prepare() comes first")
        return self._local


def _opened(context: Context, settings: Settings) -> Local:
    folder = Path(settings.folder or context.cache_dir / context.workload) / f"replica-{context.replica}"
    threads = settings.threads or max(1, min(256, int(context.budget.cores or 1)))
    limit = context.budget.memory_bytes.get("dram")
    kept = StoreSettings(
        memory_bytes=None if limit is None else max(1, limit - base_bytes(settings)),
        threads=threads,
        index_from=settings.index_from,
    )
    chosen = Advised(settings.index_from, settings.recall)
    regions = Regions(open_region)
    store = Store(folder, kept, policy=StaysInTier(chosen), open_region=regions.open)
    placement = Placement(store, chosen, folder / "tiers", settings.memory_nodes, regions, settings.recall)
    return Local(store, placement, LazyModel(settings.embedding), settings, threads)


worker = Worker()
