"""The light module: what a node bids for a store that it could keep, and why it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead_agent.plugin import Estimate, MemoryFacts, NodeFacts, ProcessorFacts, Refusal, Workload
from fairlead_tiered_retrieval.light import plugin
from fairlead_tiered_retrieval.settings import read_settings

MIB = 2**20
NODE = "memory://127.0.0.1:7000/books"


def facts(dram: int = 4096 * MIB, storage: int = 64 * 1024 * MIB, **changes: Any) -> NodeFacts:
    return NodeFacts(
        node="edge",
        processor=ProcessorFacts(architecture="x86_64", cores=2, cores_free=2),
        memory=(
            MemoryFacts(tier="dram", total_bytes=dram, free_bytes=dram),
            MemoryFacts(tier="storage", total_bytes=storage, free_bytes=storage),
        ),
        **changes,
    )


def bid(variant: str, node: NodeFacts, **config: Any) -> Estimate | Refusal:
    answer = plugin.estimate(Workload(name="books", plugin="tiered_retrieval", config=config), variant, node)
    assert answer is not None
    return answer


def estimated(variant: str, node: NodeFacts, **config: Any) -> Estimate:
    answer = bid(variant, node, **config)
    assert isinstance(answer, Estimate), answer
    return answer


def test_vectors_lie_where_the_variant_says() -> None:
    """A million vectors of 384 float32 are 1.43 GiB; codes beside them are much less."""
    expected = {"vectors": 1_000_000, "dim": 384}
    whole, filed, lent = (
        estimated(variant, facts(), expected=expected, memory_nodes=[NODE], embedding=None).memory_bytes
        for variant in ("dram", "tiered-file", "tiered-memory-node")
    )
    raw = 1_000_000 * 384 * 4
    assert raw < whole["dram"] < 1.5 * raw
    assert filed["dram"] == lent["dram"] < 0.2 * raw
    assert filed["storage"] - lent["storage"] == pytest.approx(1.06 * raw, rel=0.001)


def test_a_dram_bid_can_shrink_to_a_lower_tier() -> None:
    expected = {"vectors": 1_000_000, "dim": 384}
    bid = estimated("dram", facts(), expected=expected, embedding=None)
    assert bid.memory_minimum_bytes["dram"] < 0.3 * bid.memory_bytes["dram"]


def test_shards_share_the_vectors() -> None:
    expected = {"vectors": 1_000_000, "dim": 384}
    one, four = (estimated("dram", facts(), expected=expected, shards=n, embedding=None) for n in (1, 4))
    assert four.memory_bytes["dram"] < 0.4 * one.memory_bytes["dram"]


def test_an_embedding_model_is_paid_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(3 * MIB))
    without, with_model = (estimated("dram", facts(), embedding=model) for model in (None, str(tmp_path)))
    assert with_model.memory_minimum_bytes["dram"] - without.memory_minimum_bytes["dram"] >= 3 * MIB


def test_lower_tiers_take_longer_and_measured_ones_as_long_as_measured() -> None:
    def latency(variant: str, **software: str) -> float:
        return estimated(variant, facts(software=software), memory_nodes=[NODE]).latency_s.p50

    assert latency("dram") < latency("tiered-memory-node") < latency("tiered-file")
    assert latency("tiered-file", retrieval_file="0.02 0.001 0.000001") > latency("tiered-file") + 0.015
    assert latency("tiered-file", retrieval_file="nonsense") == latency("tiered-file")


def test_bids_rest_on_what_was_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = {"length": 1024, "depth": 16, "p50_us": 9000.0, "p99_us": 1.0, "reads_per_s": 1000.0, "processor_us": 2.0}
    (tmp_path / "disk.json").write_text(json.dumps({"kind": "file", "direct": False, "points": [point]}))
    (tmp_path / "no-probe.json").write_text("[]")
    monkeypatch.setenv("FAIRLEAD_TIER_PROBES", str(tmp_path))
    software = plugin.probe(facts())
    assert software["retrieval_file"] == "0.016 0.001 2e-06"
    slow = estimated("tiered-file", facts(software=software), embedding=None)
    assert slow.latency_s.p50 > 0.016 and slow.throughput_per_s.p50 == pytest.approx(1000 / 15)


def test_refusals_say_what_it_takes() -> None:
    small = bid("dram", facts(dram=64 * MIB))
    assert isinstance(small, Refusal) and "MiB of dram" in small.needs and small.has == "64 MiB of dram"
    alone = bid("tiered-memory-node", facts())
    assert isinstance(alone, Refusal) and "memory_nodes" in alone.needs
    without = bid("dram", facts(software={"retrieval_numpy": "missing"}))
    assert isinstance(without, Refusal) and "pip install" in without.needs
    assert plugin.estimate(Workload(name="a", plugin="tiered_retrieval"), "f32-cuda", facts()) is None


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"recal": 0.9}, "recal = 0.9: unknown; accepted: folder, expected"),
        ({"expected": {"vectors": 0}}, "expected.vectors = 0"),
        ({"expected": {"vektors": 1}}, "expected.vektors = 1: unknown; accepted: vectors, dim"),
        ({"folder": "books"}, "folder = 'books': accepted: an absolute path"),
        ({"embedding": "word2vec"}, "embedding = 'word2vec': accepted: all-minilm-l6-v2"),
        ({"memory_nodes": ["http://a:1/b"]}, "memory://HOST:PORT/REGION"),
        ({"scatter": {"hedge_s": 9, "timeout_s": 5}}, "less than scatter.timeout_s"),
    ],
)
def test_bad_settings_name_field_value_and_what_is_accepted(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as error:
        read_settings(config)
    assert said in str(error.value)
    assert isinstance(bid("dram", facts(), **config), Refusal)


def test_defaults_are_filled_in_and_stay() -> None:
    once = plugin.validate({"shards": 2})
    assert once["shards"] == 2 and once["recall"] == 0.95
    assert plugin.validate(once) == once


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, fairlead_tiered_retrieval.light as l; l.plugin.describe(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{name}'" in loaded for name in ("numpy", "starlette", "pyarrow", "tokenizers", "httpx"))
