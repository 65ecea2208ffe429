"""Writes plugins of all sorts into folders: good ones, and each way of going wrong."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from fairlead_agent.plugin import MemoryFacts, NodeFacts, ProcessorFacts, Workload

FACTS = NodeFacts(
    node="edge",
    processor=ProcessorFacts(architecture="x86_64", cores=2.0, cores_free=2.0),
    memory=(MemoryFacts(tier="dram", total_bytes=1 << 30, free_bytes=1 << 29),),
)

LIGHT = """
    import time
    from fairlead_agent.plugin import Description, Estimate, Quantiles, Refusal, hookimpl

    class Light:
        @hookimpl
        def describe(self):
            return Description(summary="echo", software={"engine": "plain"})

        @hookimpl
        def probe(self, facts):
            return {"engine": "plain", "cores": facts.processor.cores}

        @hookimpl
        def estimate(self, workload, variant, facts):
            if variant == "gpu" and not facts.gpus:
                return Refusal(reason="needs a GPU")
            one = Quantiles(p10=1, p50=1, p90=1)
            return Estimate(
                latency_s=one, throughput_per_s=one, startup_s=one, memory_bytes={"dram": 1},
                reason=str(sorted(facts.software.items())),
            )

        @hookimpl
        def validate(self, config):
            if config.get("size", 1) < 1:
                raise ValueError(f"size: {config['size']}; accepted: 1 or more")
            return {"size": 1, **config}

    plugin = Light()
"""


def write_plugin(folder: Path, name: str, light: str = LIGHT, /, **changes: Any) -> Path:
    """A folder plugin; ``changes`` replace keys of its manifest, None removes one."""
    package = f"fl_{name}_{abs(hash(folder)) % 10**8}"
    manifest: dict[str, Any] = {
        "schema_version": 1,
        "name": name,
        "version": "1.0",
        "summary": "says what it is told",
        "light": f"{package}.light:plugin",
        "worker": f"{package}.worker:worker",
        "variants": [
            {"name": "plain", "summary": "as it is"},
            {"name": "gpu", "summary": "on a GPU", "needs_real": ["gpu"]},
        ],
    }
    manifest.update(changes)
    root = folder / name
    (root / package).mkdir(parents=True)
    (root / package / "__init__.py").touch()
    (root / package / "light.py").write_text(dedent(light))
    (root / package / "worker.py").write_text("worker = object()\n")
    written = {key: value for key, value in manifest.items() if value is not None}
    (root / "plugin.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    return root


def hook(body: str, name: str = "estimate", arguments: str = "self, workload, variant, facts") -> str:
    """The light module of a plugin whose only hook has this body."""
    other = (
        ""
        if name == "estimate"
        else "\n        @hookimpl\n        def estimate(self, workload, variant, facts):\n            return None\n"
    )
    return f"""
    import asyncio, os, sys, time, threading
    from fairlead_agent.plugin import Description, Estimate, Quantiles, Refusal, hookimpl

    class Light:{other}
        @hookimpl
        def {name}({arguments}):
            {body}

    plugin = Light()
"""


def workload(plugin: str, **config: Any) -> Workload:
    return Workload(name="work", plugin=plugin, config=config)
