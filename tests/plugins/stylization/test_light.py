"""The light module: a node bids for variants whose weights it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairlead_agent.plugin import Estimate, MemoryFacts, NodeFacts, ProcessorFacts, Refusal, Workload
from fairlead_stylization import light

MIB = 2**20


def bid(variant: str, onnxruntime: str = "found", **config: Any) -> Estimate | Refusal | None:
    facts = NodeFacts(
        node="edge",
        processor=ProcessorFacts(architecture="x86_64", cores=2, cores_free=2),
        memory=(MemoryFacts(tier="dram", total_bytes=16384 * MIB, free_bytes=16384 * MIB),),
        software={"stylization_onnxruntime": onnxruntime},
    )
    return light.plugin.estimate(Workload(name="style", plugin="stylization", config=config), variant, facts)


def test_a_variant_is_offered_where_its_weights_are(tmp_path: Path) -> None:
    assert isinstance(bid("edge"), Estimate)
    for variant in ("edge", "quality"):
        files = (light.WEIGHTS / f"{variant}{ending}" for ending in ("-picture.onnx", "-refiner.safetensors"))
        assert isinstance(bid(variant), Estimate if any(file.is_file() for file in files) else Refusal)
        assert isinstance(bid(variant, weights=str(tmp_path)), Estimate)
    assert bid("huge") is None


def test_onnx_runtime_is_needed_only_where_it_is_asked_for() -> None:
    assert isinstance(bid("edge", "missing"), Estimate)
    refusal = bid("edge", "missing", runtime="onnx")
    assert isinstance(refusal, Refusal)
    assert "onnx" in refusal.reason
