"""The engine behind OpenAI's routes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from fairlead_language_model.serving.application import Application

from .engine import Engine
from .metrics import EngineCollector


def serve(
    engine: Engine,
    model_id: str,
    *,
    aliases: tuple[str, ...] = (),
    max_tokens: int = 256,
    registry: CollectorRegistry | None = None,
) -> Application:
    """Return the routes over an engine with its sessions; `model_id` is the workload's name."""
    return Application(
        engine,
        model_id,
        EngineCollector(engine),
        aliases=aliases,
        max_tokens=max_tokens,
        registry=registry,
        recall=engine.sessions.recall,
    )
