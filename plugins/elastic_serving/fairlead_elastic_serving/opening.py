"""Opens a model within an instance's budget: what of it the engine may use, and how far that may grow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fairlead_agent.plugin import Budget
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.fingerprint import fingerprint
from fairlead_language_model.serving import BudgetTooSmall
from fairlead_language_model.serving.resident import resident_bytes

from .compression.options import Compression
from .cost import CUDA_VARIANT, LEAST_TOKENS, VARIANTS, WORKSPACE_BYTES
from .engine.memory_plan import MemoryPlan
from .engine.served_model import ServedModel, plan_memory
from .engine.settings import EngineSettings
from .group.settings import GroupSettings
from .links.door import LinkSettings
from .settings import Settings

#: Room for requests in flight, their text, the event loop, and what torch keeps of its own.
HEADROOM_BYTES = 48 * 2**20


@dataclass(frozen=True, slots=True)
class Room:
    """What an instance takes of its budget beside the engine, by tier, and the tier that the engine's memory is in.

    Attributes:
        tier: dram or vram.
        beside: bytes of the interpreter and its libraries, and of host memory for swaps.
        most_bytes: that the engine has use for.
    """

    tier: str
    beside: dict[str, int]
    most_bytes: int

    def engine_bytes(self, budget: Budget) -> int:
        """Return the bytes that a budget leaves to the engine, at most what it has use for."""
        given = budget.memory_bytes.get(self.tier)
        return self.most_bytes if given is None else min(self.most_bytes, given - self.beside.get(self.tier, 0))

    def by_tier(self, engine_bytes: int) -> dict[str, int]:
        """Return the whole instance's bytes where the engine holds so many."""
        return {**self.beside, self.tier: self.beside.get(self.tier, 0) + engine_bytes}

    def refusal(self, budget: Budget, least_bytes: int) -> BudgetTooSmall:
        """Return the error for a budget below what the engine needs, in bytes of the whole instance."""
        beside = self.beside.get(self.tier, 0)
        return BudgetTooSmall(budget.memory_bytes.get(self.tier, 0), beside + least_bytes)


def engine_settings(settings: Settings, variant: str) -> EngineSettings:
    """Return a workload's settings as the engine takes them."""
    return EngineSettings(
        dtype=VARIANTS[variant],
        device="cuda" if variant == CUDA_VARIANT else "cpu",
        context=settings.context_tokens,
        step_tokens=settings.step_tokens,
        sequences=settings.max_sequences,
        waiting=settings.max_waiting,
        page_bytes=settings.page_bytes,
        host_bytes=settings.swap_bytes,
        prefix_cache=settings.prefix_cache,
        compression=_compression(settings),
        least_tokens=LEAST_TOKENS,
        ttft_s=settings.slo.ttft_s,
        tpot_s=settings.slo.tpot_s,
    )


def group_settings(settings: Settings) -> GroupSettings:
    """Return a workload's settings as groups take them."""
    drop, speed = settings.drop, settings.links.bytes_per_s
    known = {} if speed is None else {"link_bytes_per_s": speed}
    return GroupSettings(drop=drop.enabled, drop_at=drop.at, restore_at=drop.restore_at, **known)


def link_settings(settings: Settings, host: str) -> LinkSettings:
    """Return a workload's settings as links take them; `host` is where peers reach this node."""
    links = settings.links
    return LinkSettings(host, stall_s=links.stall_s, join_s=links.join_s, bytes_per_s=links.bytes_per_s)


def alike(model: ServedModel) -> str:
    """Return what must be alike for instances to serve as one: a digest of shape, arithmetic and pages."""
    told = (model.config.model_dump_json(), model.settings.dtype, model.plan.page_bytes, model.context)
    weights = fingerprint(model.loaded.checkpoint.path)
    return hashlib.blake2b(repr((told, weights)).encode(), digest_size=16).hexdigest()


def _compression(settings: Settings) -> Compression | None:
    if settings.kv_format == "raw":
        return None
    path = Path(settings.calibration) if settings.calibration else None
    return Compression(when=settings.compress, calibration=path)


def open_within(settings: Settings, variant: str, budget: Budget) -> tuple[ServedModel, Room]:
    """Read a model into a budget.

    Raises:
        BudgetTooSmall: it holds no sequence; says what would.
        ValueError: `kv_bytes` or `context_tokens` does not fit the model.
        LanguageModelError, ModelUnsupported: the checkpoint cannot be used; names the file and the part.
    """
    chosen = engine_settings(settings, variant)
    checkpoint = open_checkpoint(settings.model_path)
    settings.context_of(checkpoint.config.max_position_embeddings)
    plan, context = plan_memory(checkpoint.config, chosen)
    room = _room(settings, variant, plan, context)
    wanted = room.engine_bytes(budget)
    if wanted < plan.least_bytes:
        raise room.refusal(budget, plan.least_bytes)
    # On a GPU memory that is reserved is taken.
    most = room.most_bytes if room.tier == "dram" else None
    return ServedModel.open(checkpoint, wanted, chosen, most_bytes=most), room


def _room(settings: Settings, variant: str, plan: MemoryPlan, context: int) -> Room:
    beside = {"dram": resident_bytes() + HEADROOM_BYTES + settings.swap_bytes}
    tier = "vram" if variant == CUDA_VARIANT else "dram"
    if tier == "vram":
        beside["vram"] = WORKSPACE_BYTES
    whole = settings.max_sequences * -(-int(context * plan.token_bytes) // plan.page_bytes)
    pages = whole if settings.kv_bytes is None else min(whole, settings.kv_bytes // plan.page_bytes)
    if pages < plan.least_pages:
        least = plan.least_pages * plan.page_bytes
        raise ValueError(
            f"kv_bytes = {settings.kv_bytes}: accepted: at least {least}, {LEAST_TOKENS} tokens of one request"
        )
    return Room(tier, beside, plan.bytes_for(pages))
