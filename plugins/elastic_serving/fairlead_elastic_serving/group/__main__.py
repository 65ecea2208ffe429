"""Serves a model on every rank that torchrun starts, without agents; the ranks form groups as replicas on a fleet do.

    python -m torch.distributed.run --nproc-per-node 2 -m fairlead_elastic_serving.group MODEL --port 8000

Rank r answers HTTP on port + r. It needs nothing of torchrun but RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, and
where these are set by hand a rank that dies does not take the others with it.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import click
import torch
import uvicorn

from fairlead_agent.plugin import Budget
from fairlead_language_model.errors import LanguageModelError
from fairlead_language_model.serving import BudgetTooSmall
from fairlead_language_model.serving.application import Application

from ..cost import CUDA_VARIANT, VARIANTS
from ..engine.engine import Engine
from ..errors import ElasticServingError
from ..links.meeting import Torchrun
from ..metrics import EngineCollector
from ..opening import group_settings, link_settings, open_within
from ..settings import Settings, read_settings
from .membership import Membership

log = logging.getLogger(__name__)


def _told(event: str, **values: Any) -> None:
    cause = values.pop("exc_info", None)
    log.warning("%s %s", event, values, exc_info=cause)


@click.command(help=__doc__.splitlines()[0])
@click.argument("model")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that clients and the other ranks reach.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65000), help="Of rank 0.")
@click.option("--memory-bytes", type=click.IntRange(1), required=True, help="Budget of each rank.")
@click.option("--variant", type=click.Choice(list(VARIANTS)), default="f32-cpu", show_default=True)
@click.option("--config", default="{}", help="What a workload may set, as JSON.")
def main(model: str, host: str, port: int, memory_bytes: int, variant: str, config: str) -> None:
    """Serve until the process is told to end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        place = Torchrun.from_environment()
        given = json.loads(config)
        if not isinstance(given, dict):
            raise ValueError(f"--config {config!r}: accepted: a JSON object")
        settings = read_settings({**given, "model": model})
        if settings.threads:
            torch.set_num_threads(settings.threads)
        tier = "vram" if variant == CUDA_VARIANT else "dram"
        opened, _ = open_within(settings, variant, Budget(memory_bytes={tier: memory_bytes}))
    except (ElasticServingError, LanguageModelError, BudgetTooSmall, ValueError) as error:
        raise click.ClickException(str(error)) from error
    engine = Engine(opened, warn=_told)
    membership = _join(engine, settings, place, host)
    application = Application(
        engine,
        model,
        EngineCollector(engine, membership, model, place.rank),
        max_tokens=settings.max_tokens,
    )
    try:
        uvicorn.run(application.asgi(), host=host, port=port + place.rank, log_level="warning")
    finally:
        engine.close()
        membership.close()


def _join(engine: Engine, settings: Settings, place: Torchrun, host: str) -> Membership:
    me = f"{place.rank:05d}"
    membership = Membership(engine, me, link_settings(settings, host), group_settings(settings), _told)
    membership.know(place.doors(me, membership.door))
    log.info("rank %d of %d: door %s", place.rank, place.ranks, membership.door)
    return membership


if __name__ == "__main__":
    main()
