"""A short name for what an instance serves, so that a new generation of the same thing moves nothing."""

from __future__ import annotations

import json
from hashlib import sha256

from fairlead_agent.messages import Workload


def config_digest(workload: Workload) -> str:
    """The first 16 hex digits of the SHA-256 over plugin and config in canonical JSON."""
    text = json.dumps([workload.plugin, workload.config], sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]
