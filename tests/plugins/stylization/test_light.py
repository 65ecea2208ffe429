"""The light module: a node bids for variants whose weights it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairlead_agent.config import load_workloads
from fairlead_agent.plugin import Estimate, MemoryFacts, NodeFacts, ProcessorFacts, Refusal, Workload
from fairlead_stylization import light
from fairlead_stylization.cost import generation_bytes, room_bytes, work_bytes
from fairlead_stylization.settings import read_settings

MIB = 2**20


def bid(
    variant: str, onnxruntime: str = "found", stylization_torch: str = "missing", **config: Any
) -> Estimate | Refusal | None:
    facts = NodeFacts(
        node="edge",
        processor=ProcessorFacts(architecture="x86_64", cores=2, cores_free=2),
        memory=(MemoryFacts(tier="dram", total_bytes=16384 * MIB, free_bytes=16384 * MIB),),
        software={"stylization_onnxruntime": onnxruntime, "stylization_torch": stylization_torch},
    )
    return light.plugin.estimate(Workload(name="style", plugin="stylization", config=config), variant, facts)


def test_a_variant_is_offered_where_its_weights_are(tmp_path: Path) -> None:
    assert isinstance(bid("edge"), Estimate)
    for variant in ("edge", "quality"):
        files = (light.WEIGHTS / f"{variant}{ending}" for ending in ("-picture.onnx", "-refiner.safetensors"))
        assert isinstance(bid(variant), Estimate if any(file.is_file() for file in files) else Refusal)
        assert isinstance(bid(variant, weights=str(tmp_path)), Estimate)
    assert bid("huge") is None


def test_the_workload_that_ships_takes_a_telephones_photographs_in_less_than_a_gibibyte() -> None:
    (workload,) = load_workloads("stylization")
    assert workload.config["max_pixels"] >= 4080 * 3072
    for variant in light.VARIANTS:
        answer = bid(variant, stylization_torch="missing", **workload.config)
        assert isinstance(answer, Estimate)
        assert answer.memory_minimum_bytes["dram"] < 1024 * MIB
        searched = bid(variant, stylization_torch="found", **workload.config)
        assert isinstance(searched, Estimate)
        assert searched.memory_minimum_bytes["dram"] > answer.memory_minimum_bytes["dram"] + 512 * MIB


def test_what_is_at_work_at_once_is_within_what_is_bid() -> None:
    for variant in light.VARIANTS:
        settings = read_settings({"max_pixels": 13_000_000})
        room = room_bytes(settings, variant, searches=True)
        for pixels in (1, 512 * 512, 1280 * 1280, 1280 * 1280 + 1, 3840 * 2160, 13_000_000):
            for results in (0, 1, settings.max_diverse):
                assert work_bytes(settings, variant, pixels, results) <= room
                assert generation_bytes(settings, pixels, results) <= room
        assert 2 * work_bytes(settings, variant, 512 * 512) <= room_bytes(settings, variant, searches=False)


def test_what_completes_pictures_is_bid_for_where_it_takes_more_than_styles() -> None:
    settings = read_settings({"max_pixels": 200_000, "diverse_pixels": 1024})
    assert room_bytes(settings, "edge", searches=True) >= generation_bytes(settings, 200_000, settings.max_diverse)
    assert room_bytes(settings, "edge", searches=True) > room_bytes(settings, "edge", searches=False)


def test_files_of_networks_are_named_by_absolute_paths() -> None:
    for name in ("inpainting", "colorization", "super_resolution"):
        refusal = bid("edge", **{name: "x2.npz"})
        assert isinstance(refusal, Refusal) and name in refusal.reason and "absolute path" in refusal.reason


def test_onnx_runtime_is_needed_only_where_it_is_asked_for() -> None:
    assert isinstance(bid("edge", "missing"), Estimate)
    refusal = bid("edge", "missing", runtime="onnx")
    assert isinstance(refusal, Refusal)
    assert "onnx" in refusal.reason
