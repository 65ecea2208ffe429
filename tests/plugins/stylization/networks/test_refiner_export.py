"""Exported refiners go down the same slope as in torch and by the kernels; the manual's lines give the same picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner

from fairlead_stylization.commands.style import style as style_command
from fairlead_stylization.networks.refining import NativeRefiner
from fairlead_stylization.networks.running import VARIANTS, WEIGHTS, shipped_stylizer
from fairlead_stylization.networks.sessions import Graph
from fairlead_stylization.networks.shape import REFINERS
from fairlead_stylization.pictures import Picture, read_picture, write_picture
from tests.plugins.stylization.networks.test_refining import blocks

torch = pytest.importorskip("torch", reason="torch is not installed: refiners are not compared with it")
pytest.importorskip("onnx", reason="onnx is not installed: refiners are not exported")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: exported graphs are not run")

MANUAL = Path(__file__).parents[4] / "docs/stylization.md"
SHIPPED = [name for name in VARIANTS if (WEIGHTS / f"{name}-refiner.safetensors").is_file()]


class Made(NamedTuple):
    """A refiner of random weights, in torch, by the kernels and as graphs."""

    whole: torch.nn.Module
    native: NativeRefiner
    style: Graph
    steps: Graph


@pytest.fixture(params=["edge", "quality"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    from safetensors.torch import save_file

    from fairlead_stylization.networks.refiner import Refiner
    from fairlead_stylization.networks.refiner_export import export_refiner

    torch.manual_seed(5)
    refiner = Refiner(REFINERS[request.param]).eval()
    for weights in refiner.weights:
        torch.nn.init.normal_(weights, 0, 0.3)
    save_file(refiner.state_dict(), tmp_path / "refiner.safetensors")
    graphs = (Graph(file, threads=1) for file in export_refiner(refiner, tmp_path, request.param))
    return Made(refiner, NativeRefiner(tmp_path / "refiner.safetensors", request.param, "floats"), *graphs)


def planes(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None])


def fed(made: Made, size: tuple[int, int], strength: float) -> dict[str, np.ndarray]:
    """What a graph is run with on a seeded picture; statistics are its own."""
    count = sum(2 * size for size in made.native.shape.channels) + 1
    found = {"picture": planes(blocks(0, *size)), "target": made.style.run({"style": planes(blocks(2))})[0]}
    found |= {"strength": np.array([strength], np.float32), "share": np.zeros(1, np.float32)}
    found["given"] = np.zeros((1, count * made.native.shape.steps), np.float32)
    return found | ({"content": planes(blocks(1, *size))} if made.native.shape.content else {})


@pytest.mark.parametrize("size", [(64, 80), (136, 104)])
def test_graphs_do_what_torch_does(made: Made, size: tuple[int, int]) -> None:
    given = fed(made, size, 0.7)
    got, _ = made.steps.run(given)
    content, style = (torch.from_numpy(planes(part)) for part in (blocks(1, *size), blocks(2)))
    wanted = made.whole(torch.from_numpy(given["picture"]), made.whole.target(style, content), torch.tensor([0.7]))
    np.testing.assert_allclose(got, wanted.detach().numpy(), atol=2e-5)
    assert np.abs(got - given["picture"]).mean() > 1e-3


@pytest.mark.parametrize("size", [(64, 80), (136, 104)])
def test_statistics_are_noted_and_gone_by_as_in_kernels(made: Made, size: tuple[int, int]) -> None:
    given = fed(made, size, 1.0)
    other = given | {"picture": planes(blocks(3, *size))}
    _, used = made.steps.run(other)
    got, again = made.steps.run(given | {"given": used, "share": np.ones(1, np.float32)})
    picture, content = blocks(0, *size), blocks(1, *size)
    wanted, noted = made.native.refine(picture, given["target"][0], 1.0, content, used)
    np.testing.assert_allclose(again, used, rtol=1e-5)
    np.testing.assert_allclose(noted[None], used, rtol=1e-5)
    np.testing.assert_allclose(got[0].transpose(1, 2, 0), wanted, atol=2e-5)


def lines_of(variant: str) -> str:
    """The manual's lines that draw with exported graphs."""
    (lines,) = (found for found in re.findall(r"```python\n(.*?)```", MANUAL.read_text(), re.S) if "graphs/" in found)
    if variant == "quality":
        for word in ('"edge-refiner', "strength=one)  #"):
            assert word in lines
        lines = lines.replace('"edge-refiner', '"quality-refiner').replace(
            "strength=one)  #", "strength=one, content=planes(whole))  #"
        )
    return lines


@pytest.mark.parametrize("variant", SHIPPED)
def test_the_manuals_lines_give_the_commands_picture(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairlead_stylization.training.command import export_command

    monkeypatch.chdir(tmp_path)
    write_picture(Picture(blocks(0, 144, 200)), tmp_path / "photo.png")
    write_picture(Picture(blocks(1, 128, 96) ** 2), tmp_path / "painting.png")
    words = ["--variant", variant]
    for command, rest in (
        (export_command, ["--out", "graphs"]),
        (style_command, ["photo.png", "--style", "painting.png", "--local", "-o", "out"]),
    ):
        result = CliRunner().invoke(command, words + rest)
        assert result.exit_code == 0, result.output
    exec(lines_of(variant), {})
    got, wanted, content = (
        read_picture(tmp_path / name).pixels for name in ("result.png", "out/photo.png", "photo.png")
    )
    assert got.shape == wanted.shape
    # Weights of what draws have 8 bits in graphs, and features in the command's kernels where those are fastest so.
    assert np.abs(got - wanted).mean() < 0.015 < 0.1 * np.abs(wanted - content).mean()


@pytest.mark.skipif("edge" not in SHIPPED, reason="no weights of edge ship")
def test_a_named_refiner_is_written_and_a_wrong_one_refused(tmp_path: Path) -> None:
    from fairlead_stylization.training.command import export_command

    (tmp_path / "weights.safetensors").write_bytes((WEIGHTS / "edge.safetensors").read_bytes())
    words = [str(tmp_path / "weights.safetensors"), "--out", str(tmp_path / "graphs"), "--refiner"]
    result = CliRunner().invoke(export_command, [*words, str(WEIGHTS / "edge-refiner.safetensors")])
    assert result.exit_code == 0, result.output
    graphs = {f"edge-{ending}.onnx" for ending in ("style", "picture", "refiner-style", "refiner")}
    # A run's own weights go along: the folder is what a workload's `weights` takes.
    weights = {"edge.safetensors", "edge-refiner.safetensors"}
    assert {file.name for file in (tmp_path / "graphs").iterdir()} == graphs | weights
    assert shipped_stylizer("edge", 1, tmp_path / "graphs").weights_digest
    result = CliRunner().invoke(export_command, [*words, str(WEIGHTS / "edge.safetensors")])
    assert result.exit_code == 1 and "edge.safetensors" in result.output
