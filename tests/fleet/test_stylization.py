"""`fairlead style` goes through the gateway to where the workload was placed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fairlead_agent.config import load_workloads
from fairlead_stylization.client import StyleClient
from fairlead_stylization.pictures import Picture, read_picture, write_picture
from tests.fleet.conftest import Fleet, FleetMaker
from tests.patience import patient
from tests.plugins.stylization.small_network import random_network

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "stylization"


@pytest.fixture
def fleet(make_fleet: FleetMaker, tmp_path: Path) -> Fleet:
    """The shipped workload with a network of random weights, serving."""
    weights = random_network(tmp_path / "weights")
    random_network(tmp_path / "weights", "quality")
    fleet = make_fleet(agents={"edge": "edge-box", "gpu": "gpu-server"})
    (workload,) = load_workloads(NAME)
    config = {**workload.config, "weights": str(weights), "max_pixels": 300_000}
    fleet.apply(**workload.model_copy(update={"config": config}).model_dump(mode="json"))
    fleet.ready(NAME)
    return fleet


def command(fleet: Fleet, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FAIRLEAD_URL": fleet.local.url, "FAIRLEAD_TOKEN": fleet.local.admin_token()}
    line = [sys.executable, "-c", "from fairlead_agent.cli.main import main; main()", *words]
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=patient(240), check=False)


def test_pictures_go_through_the_gateway(fleet: Fleet, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo, painting = (str(tmp_path / f"{name}.png") for name in ("photo", "painting"))
    for path in (photo, painting):
        write_picture(Picture(rng.random((64, 80, 3), np.float32)), path)
    out = tmp_path / "out"
    words = ("style", photo, "--style", painting, "--strength", "0.7", "-o", str(out))
    done = command(fleet, *words, "--diverse", "4")
    assert done.returncode == 0, done.stderr + done.stdout
    several = [read_picture(out / f"photo-{number:02d}.png").pixels for number in range(1, 5)]
    assert all(np.abs(several[0] - other).mean() > 1e-4 for other in several[1:])
    plain = command(fleet, *words)
    assert plain.returncode == 0 and read_picture(out / "photo.png").pixels.shape == (64, 80, 3)
    explained = command(fleet, "explain", NAME)
    assert "placed" in explained.stdout and "/edge" in explained.stdout
    with StyleClient(f"{fleet.local.url}/workloads/{NAME}", fleet.local.admin_token()) as client:
        (coloured,), _ = client.generate("colorization", Path(photo).read_bytes())
        assert coloured.shape == (64, 80, 3)
    large = str(tmp_path / "large.png")
    write_picture(Picture(rng.random((600, 600, 3), np.float32)), large)
    refused = command(fleet, "style", large, "--style", painting, "-o", str(out))
    assert refused.returncode != 0 and "600x600 pixels; accepted: at most 300000" in refused.stderr + refused.stdout
