"""aiomqtt without urllib.request.

paho imports urllib.request (half a MiB with http.client) to find a proxy, which it does only where PySocks is
installed. Import this first where the import of aiomqtt must stay light; it has no effect when either was imported
before, or where PySocks is installed.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

_NAME = "urllib.request"
_held_out = not {_NAME, "paho.mqtt.client"} & sys.modules.keys() and importlib.util.find_spec("socks") is None

if _held_out:
    sys.modules[_NAME] = ModuleType(_NAME)
try:
    import aiomqtt
finally:
    if _held_out:
        del sys.modules[_NAME]

__all__ = ["aiomqtt"]
