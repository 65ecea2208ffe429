"""The worker module: what runs in the instance's own process."""

from __future__ import annotations

import atexit
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

import fairlead_kernels
from fairlead_agent.plugin import Budget, BudgetReply, Context
from fairlead_language_model.fingerprint import fingerprint

from .application import serve
from .engine import BudgetTooSmall, Engine, SparseModel
from .engine.accelerated_loading import load_accelerated
from .engine.graph_model import GraphModel
from .engine.hybrid_model import HybridModel
from .engine.sessions import SessionStore
from .engine.speculation import DraftModel, DraftSource, NgramSource, NoDrafts
from .light import GPU, NATIVE, NUMPY
from .measurement import Measurement
from .settings import Settings, read_settings

#: How long a drain waits for the requests under way; the host's own deadline may be shorter.
DRAIN_S = 60.0


class Worker:
    """One instance: a model and an engine under one budget."""

    def __init__(self) -> None:
        self._model: SparseModel | None = None
        self._draft: SparseModel | None = None
        self._engine: Engine | None = None
        self._measurement = Measurement()

    def prepare(self, context: Context) -> None:
        """Choose the kernels and load the model.

        Raises:
            RuntimeError: the variant's kernels cannot be had here.
            AcceleratorUnavailable: the accelerator or its software is missing; says what.
            LanguageModelError, ModelUnsupported: the checkpoint cannot be used; names the file and the part.
        """
        settings = read_settings(dict(context.config))
        _select_kernels(context.variant)
        context.progress(0.1, f"loading {settings.model}")
        self._model = _load(settings, context)
        settings.context_of(self._model.config.max_position_embeddings)
        self._draft = None if settings.draft_path is None else SparseModel.load(settings.draft_path)
        if self._draft is not None:
            DraftModel.check(self._draft, self._model)
        context.progress(1.0, "loaded")
        context.log.info("model loaded", model=settings.model, kernels=_kernels())
        if isinstance(self._model, GraphModel):
            lacking = f"the kernels do not take {self._model.reason}"
            context.log.warning("the NumPy graph serves this model, slowly", model=settings.model, reason=lacking)

    def application(self, context: Context) -> Any:
        """Start the engine within the budget and return the ASGI application.

        Raises:
            BudgetTooSmall: the budget does not hold one sequence.
        """
        settings = read_settings(dict(context.config))
        if self._model is None:
            self.prepare(context)
        assert self._model is not None
        self._engine = Engine(
            self._model,
            max_sequences=settings.max_sequences,
            max_waiting=settings.max_waiting,
            context=settings.context_tokens,
            memory_bytes=context.budget.memory_bytes.get("dram"),
            kv_bits=settings.kv_bits,
            prefix_cache=settings.prefix_cache,
            drafts=self._drafts(settings),
            sessions=_sessions(settings, context),
            warn=context.log.warning,
        )
        # The interpreter must not end under a thread that computes.
        atexit.register(self._engine.close)
        self._engine.set_threads(_threads(settings, context.budget))
        self._settings = settings
        application = serve(
            self._engine,
            context.workload,
            aliases=(settings.model,),
            max_tokens=settings.max_tokens,
            registry=context.metrics,
        )
        return application.asgi()

    def _drafts(self, settings: Settings) -> DraftSource:
        if settings.draft == "ngram":
            return NgramSource(settings.draft_tokens)
        if self._draft is None or self._model is None:
            return NoDrafts()
        context = settings.context_of(self._model.config.max_position_embeddings)
        return DraftModel(self._draft, settings.draft_tokens, sequences=settings.max_sequences, context=context)

    def reconfigure(self, budget: Budget, deadline_s: float) -> BudgetReply:
        """Fit pages and threads into a budget; one that is too small is refused and the old one stays."""
        engine = self._running()
        for tier, size in _device_bytes(engine.model).items():
            if budget.memory_bytes.get(tier, size) < size:
                reason = f"{tier}: {budget.memory_bytes[tier]} bytes: the hot neurons of a running instance take {size}"
                return self._reply(accepted=False, reason=reason)
        try:
            engine.resize(budget.memory_bytes.get("dram"))
        except BudgetTooSmall as error:
            return self._reply(accepted=False, reason=str(error))
        engine.set_threads(_threads(self._settings, budget))
        return self._reply()

    def _reply(self, *, accepted: bool = True, reason: str = "") -> BudgetReply:
        engine = self._running()
        return BudgetReply(
            in_use={"dram": engine.memory_in_use(), **_device_bytes(engine.model)},
            minimum={"dram": engine.plan.minimum_bytes, **_device_bytes(engine.model)},
            marginal_cost={"dram": engine.marginal_cost()},
            accepted=accepted,
            reason=reason,
        )

    def drain(self) -> None:
        """Take no new request and wait for those under way."""
        self._running().drain(DRAIN_S)

    def checkpoint(self) -> bytes:
        """Return which neurons were activated how often: what an instance learns of its traffic."""
        model, written = self._running().model, io.BytesIO()
        np.savez_compressed(written, *model.activations)
        return written.getvalue()

    def restore(self, state: bytes) -> None:
        """Add a predecessor's activation counts.

        Raises:
            ValueError: the state is damaged or belongs to another model.
        """
        model = self._running().model
        for own, counted in zip(model.activations, _read_counts(state, model.activations), strict=True):
            own += counted

    def measurements(self) -> dict[str, float]:
        """Return throughput, latency and energy since the last call."""
        engine = self._running()
        return self._measurement.take(engine.telemetry, engine.energy)

    def _running(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("the engine has not started: application() comes first")
        return self._engine


def _arithmetic(settings: Settings, variant: str) -> str:
    """What keys and values depend on beside the model's files."""
    held = f"mode={settings.mode} weight_bits={settings.weight_bits} kv_bits={settings.kv_bits}"
    device = settings.accelerator_for(variant)
    return held if device.kind == "none" else f"{held} accelerator={device.model_dump_json()}"


def _sessions(settings: Settings, context: Context) -> SessionStore | None:
    if settings.session_directory is None:
        return None
    directory = Path(settings.session_directory)
    try:
        return SessionStore(
            directory,
            fingerprint(settings.model_path, _arithmetic(settings, context.variant)),
            limit_bytes=settings.session_megabytes * 2**20,
            warn=context.log.warning,
        )
    except OSError as error:
        # Sessions save time only: a node that cannot keep them serves all the same.
        context.log.warning("sessions are not kept", session_directory=str(directory), reason=str(error))
        return None


def _load(settings: Settings, context: Context) -> SparseModel:
    """Load the model, with an accelerator where the variant or the workload has one."""
    wanted = settings.accelerator_for(context.variant)
    if wanted.kind == "none":
        return SparseModel.load(settings.model_path, mode=settings.mode, weight_bits=settings.weight_bits)
    model = load_accelerated(settings, wanted, context.budget.memory_bytes.get("vram"))
    device = model.accelerator
    context.log.info("hot neurons on an accelerator", accelerator=device.name, bytes=device.loaded_bytes)
    return model


def _device_bytes(model: SparseModel) -> dict[str, int]:
    """What an instance holds on a GPU, which stays as it is while it runs."""
    return {"vram": model.accelerator.loaded_bytes} if isinstance(model, HybridModel) and model.on_gpu else {}


def _select_kernels(variant: str) -> None:
    if variant not in (NATIVE, NUMPY, GPU):
        raise RuntimeError(f"variant {variant}: accepted: {NATIVE}, {NUMPY}, {GPU}")
    if variant == NUMPY:
        fairlead_kernels.select("numpy")
    elif variant == NATIVE and fairlead_kernels.backend().name != "native":
        raise RuntimeError(f"variant {variant}: {fairlead_kernels.backend().reason}")


def _kernels() -> str:
    backend = fairlead_kernels.backend()
    return f"{backend.name}:{backend.isa}"


def _threads(settings: Settings, budget: Budget) -> int:
    return settings.threads or max(1, min(256, int(budget.cores or 1)))


def _read_counts(state: bytes, expected: list[np.ndarray]) -> list[np.ndarray]:
    try:
        with np.load(io.BytesIO(state), allow_pickle=False) as stored:
            counts = [stored[name] for name in stored.files]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"checkpoint: damaged: {error}") from error
    shapes = [(count.shape, count.dtype) for count in counts]
    if shapes != [(own.shape, own.dtype) for own in expected]:
        raise ValueError(f"checkpoint: {len(counts)} layers of counts that do not fit this model")
    return counts


worker = Worker()
