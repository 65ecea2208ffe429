"""What a light module costs and does, seen in a process of its own: ``python -m fairlead_agent.plugin.inspection``.

Reads the folder (or the name) of a plugin from its argument and prints findings as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fairlead_agent.messages.estimate import Estimate, Refusal
from fairlead_agent.messages.workload import Workload
from fairlead_agent.plugin.discovery import Found, discover, in_folder
from fairlead_agent.plugin.errors import PluginUnavailable
from fairlead_agent.plugin.facts import BatteryFacts, GpuFacts, MemoryFacts, NodeFacts, ProcessorFacts
from fairlead_agent.plugin.finding import Finding
from fairlead_agent.plugin.light_module import load_light
from fairlead_agent.plugin.registry import Registry

LIGHT_BYTES = 4 << 20
#: Of processor time: a busy machine is no fault of the plugin.
LIGHT_S = 0.5
_ALLOWED = frozenset(
    (
        "fairlead_agent",
        # Sizes of models and what is installed, for bids; what of it is heavy imports numpy, which is foreign.
        "fairlead_language_model",
        "pydantic",
        "pydantic_core",
        "annotated_types",
        "typing_extensions",
        "typing_inspection",
        "pluggy",
    )
)


def find(where: str) -> Found:
    """The plugin at a path or of a name.

    Raises:
        PluginUnavailable: there is none, or there are several.
    """
    path = Path(where)
    if path.exists():
        records = list(in_folder(path if path.is_dir() else path.parent))
    else:
        records = [record for record in discover() if record.name == where]
    if len(records) != 1:
        found = ", ".join(record.name for record in records) or "none"
        raise PluginUnavailable(f"{where}: accepted: the folder of one plugin or its name; found: {found}")
    return records[0]


def inspect(found: Found) -> Iterator[Finding]:
    """Import the light module, call its hooks on nodes of several kinds, and tell what was seen."""
    assert found.manifest is not None
    yield from _import(found)
    registry = Registry([found], deadline_s=10.0)
    yield from asyncio.run(_call(found.manifest.name, registry))


def sample_nodes() -> list[NodeFacts]:
    """A phone, a bare edge box, and a server whose GPU is simulated."""
    return [
        _node("phone", 1.0, 192 << 20, battery=BatteryFacts(charge=0.5, charging=False, simulated=True)),
        _node("edge-box", 2.0, 512 << 20),
        _node(
            "gpu-server",
            16.0,
            64 << 30,
            gpus=(GpuFacts(name="GPU", memory_total_bytes=24 << 30, memory_free_bytes=24 << 30, simulated=True),),
        ),
    ]


def _node(
    name: str, cores: float, free_bytes: int, *, gpus: tuple[GpuFacts, ...] = (), battery: BatteryFacts | None = None
) -> NodeFacts:
    vram = [
        MemoryFacts(tier="vram", total_bytes=gpu.memory_total_bytes, free_bytes=gpu.memory_free_bytes, simulated=True)
        for gpu in gpus
    ]
    return NodeFacts(
        node=name,
        processor=ProcessorFacts(architecture=os.uname().machine, cores=cores, cores_free=cores),
        memory=(MemoryFacts(tier="dram", total_bytes=free_bytes, free_bytes=free_bytes), *vram),
        gpus=gpus,
        battery=battery,
    )


def _import(found: Found) -> Iterator[Finding]:
    assert found.manifest is not None
    modules, before_bytes, start = set(sys.modules), _resident_bytes(), time.process_time()
    try:
        load_light(found.manifest.light, found.sys_path)
    except PluginUnavailable as error:
        yield Finding("error", "light", str(error))
        return
    duration_s, size_bytes = time.process_time() - start, _resident_bytes() - before_bytes
    own = found.manifest.light.partition(":")[0].partition(".")[0]
    known = sys.stdlib_module_names | _ALLOWED | {own}
    foreign = sorted({name.partition(".")[0] for name in set(sys.modules) - modules} - known)
    if foreign:
        yield Finding("warning", "light", f"imports {', '.join(foreign)}; every agent pays for that")
    cost = f"importing it takes {duration_s * 1000:.0f} ms of a processor and {size_bytes / (1 << 20):.1f} MiB"
    dear = size_bytes > LIGHT_BYTES or duration_s > LIGHT_S
    yield Finding("warning" if dear else "ok", "light", cost)


async def _call(name: str, registry: Registry) -> list[Finding]:
    workload = Workload(name="sample", plugin=name)
    try:
        config = await registry.validate(workload)
    except ValueError as error:
        findings = [Finding("ok", "validate", f"an empty config is refused: {error}")]
    except PluginUnavailable as error:
        return [Finding("error", "validate", str(error))]
    else:
        workload = workload.model_copy(update={"config": config})
        findings = [Finding("ok", "validate", f"an empty config becomes {json.dumps(config)[:200]}")]
    await registry.describe()
    findings += _failures(registry, "describe")
    for facts in sample_nodes():
        findings += await _on_node(registry, workload, facts)
    return findings


async def _on_node(registry: Registry, workload: Workload, facts: NodeFacts) -> list[Finding]:
    await registry.probe(facts)
    if failed := _failures(registry, f"probe on {facts.node}"):
        return failed
    answers = await registry.estimate(workload, facts)
    said = [Finding("ok", "estimate", f"{variant} on {facts.node}: {_words(answer)}") for variant, answer in answers]
    return _failures(registry, f"estimate on {facts.node}") or said


def _failures(registry: Registry, what: str) -> list[Finding]:
    check = what.partition(" ")[0]
    return [Finding("error", check, f"{what}: {reason}") for reason in registry.failures().values()]


def _words(answer: Estimate | Refusal) -> str:
    if isinstance(answer, Refusal):
        return f"refused: {answer.reason}"
    return f"{answer.throughput_per_s.p50:.3g} {answer.throughput_unit}/s"


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Print the findings of the plugin that the argument names."""
    for finding in inspect(find(sys.argv[1])):
        print(json.dumps(finding._asdict()), flush=True)


if __name__ == "__main__":
    main()
