"""Which broker to start on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from fairlead_agent.bus.broker.base import Broker, BrokerError
from fairlead_agent.bus.broker.embedded import EmbeddedBroker
from fairlead_agent.bus.broker.mosquitto import MosquittoBroker, find_mosquitto

VARIABLE = "FAIRLEAD_BROKER"


def choose(
    directory: Path,
    *,
    port: int | None = None,
    site: str = "+",
    save_every_s: int | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Broker:
    """Mosquitto where it is installed, else the embedded broker; ``FAIRLEAD_BROKER`` forces one.

    Raises:
        BrokerError: neither is installed, or the variable names something else.
    """
    wanted = environment.get(VARIABLE, "") or ("mosquitto" if find_mosquitto() else "embedded")
    if wanted == "mosquitto":
        return MosquittoBroker(directory, port=port, site=site, save_every_s=save_every_s)
    if wanted != "embedded":
        raise BrokerError(f"{VARIABLE}={wanted!r}: 'mosquitto' and 'embedded' are accepted")
    if find_spec("amqtt") is None:
        raise BrokerError("no broker: neither mosquitto nor the Python package amqtt is installed")
    return EmbeddedBroker(directory, port=port, site=site)
