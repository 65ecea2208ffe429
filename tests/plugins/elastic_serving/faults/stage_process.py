"""An instance in a process of its own that has a burst to serve: run with a model's directory, ended from outside."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from fairlead_elastic_serving.engine.engine import Engine
from fairlead_elastic_serving.group.coordinator import Timing
from fairlead_elastic_serving.group.membership import Membership
from fairlead_elastic_serving.group.settings import GroupSettings
from fairlead_elastic_serving.links.door import LinkSettings
from tests.plugins.elastic_serving.engine.conftest import open_model
from tests.plugins.elastic_serving.engine.serving import Demand
from tests.plugins.elastic_serving.random_models import some_tokens

FEW_PAGES = 60
TOKENS = 60


def instance(directory: Path, name: str) -> tuple[Engine, Membership]:
    """An engine with little room and its place among its like."""
    engine = Engine(open_model(directory, FEW_PAGES, context=120))
    return engine, Membership(
        engine, name, LinkSettings(stall_s=3.0), GroupSettings(timing=Timing(pause_s=0.2, calm_s=0.2))
    )


def burst(engine: Engine, first: int) -> Demand:
    """Ask for more than there is room for, again and again."""
    return Demand(engine, [some_tokens(20 + number, number) for number in range(first, first + 5)], TOKENS)


if __name__ == "__main__":
    engine, member = instance(Path(sys.argv[1]), "00001.x")
    print(member.door, flush=True)
    member.know({"00000.x": sys.stdin.readline().strip()})
    while not member.reached:
        threading.Event().wait(0.01)
    burst(engine, 5)
    threading.Event().wait(300)
