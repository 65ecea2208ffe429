"""What a workload file says is what travels."""

from __future__ import annotations

from pathlib import Path

from fairlead_agent.config import load_workloads
from fairlead_agent.messages.workload import Workload

WHOLE = """
kind: Workload
version: fairlead/1
name: whole
plugin: some-plugin
config: {model: m, nested: [1, {two: 2}]}
replicas: 3
priority: 7
objectives:
  latency_p90: 250 ms
  throughput_min_per_s: 5
  energy_max_j: 0.5
  startup_max: 1 min
  weights: {latency: 2, energy: 0}
constraints: {nodes: [a], exclude_nodes: [b], labels: {tier: edge}, variants: [v], spread: none}
placement: {guarantee: available, on_partition: keep, ttl: 20 s}
"""


def load(tmp_path: Path, text: str) -> Workload:
    path = tmp_path / "w.yaml"
    path.write_text(text)
    return load_workloads(path)[0]


def test_every_key_arrives(tmp_path: Path) -> None:
    made = load(tmp_path, WHOLE)
    assert made.model_dump() == {
        "name": "whole",
        "plugin": "some-plugin",
        "config": {"model": "m", "nested": [1, {"two": 2}]},
        "replicas": 3,
        "priority": 7,
        "objectives": {
            "latency_p90_s": 0.25,
            "throughput_min_per_s": 5.0,
            "energy_max_j": 0.5,
            "startup_max_s": 60.0,
            "weights": {"latency": 2, "throughput": 1.0, "energy": 0.0, "startup": 0.1, "transfer": 0.1, "memory": 0.1},
        },
        "constraints": {
            "nodes": ("a",),
            "exclude_nodes": ("b",),
            "labels": {"tier": "edge"},
            "variants": ("v",),
            "spread": "none",
        },
        "placement": {"guarantee": "available", "on_partition": "keep", "ttl_s": 20.0},
    }


def test_what_is_left_out_is_as_in_the_api(tmp_path: Path) -> None:
    assert load(tmp_path, "name: a\nplugin: p\n") == Workload(name="a", plugin="p")


def test_merge_keys_work(tmp_path: Path) -> None:
    made = load(tmp_path, "name: a\nplugin: p\nconfig:\n  base: &base {x: 1, y: 2}\n  more: {<<: *base, y: 3}\n")
    assert made.config["more"] == {"x": 1, "y": 3}
