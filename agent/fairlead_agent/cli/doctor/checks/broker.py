"""The MQTT broker's program."""

from __future__ import annotations

import importlib.util
import shutil

from fairlead_agent.cli.doctor.check import Check, Finding


class BrokerProgram(Check):
    """mosquitto for real use; the embedded broker does for development on one machine."""

    name = "broker"
    question = "Which MQTT broker can be started here?"

    def run(self) -> Finding:
        """Look."""
        path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if path is not None:
            return Finding("ok", f"mosquitto at {path}")
        if importlib.util.find_spec("amqtt") is not None:
            return Finding("warning", "only the embedded development broker", "install mosquitto for real use")
        return Finding("problem", "no broker", "install mosquitto, or `pip install 'fairlead-agent[broker]'`")
