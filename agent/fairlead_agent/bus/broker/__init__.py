"""Brokers that Fairlead starts itself: mosquitto where it is installed, else an embedded one for development."""

from fairlead_agent.bus.broker.base import Broker, BrokerError
from fairlead_agent.bus.broker.choose import choose

__all__ = ["Broker", "BrokerError", "choose"]
