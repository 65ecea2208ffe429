"""Lying bundle directories: each is loaded and computes, or is refused by one documented error that names a file."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_kernels import backend
from fairlead_language_model.errors import LanguageModelError
from fairlead_language_model.graph import KVPages
from fairlead_sparse_inference.engine import ModelUnsupported, SparseModel
from tests.plugins.language_model.mutations import changed_json, to_json
from tests.plugins.sparse_inference.bundles import bundle_of

FUZZ = settings(
    max_examples=int(os.environ.get("FAIRLEAD_FUZZ_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
MOST_BYTES = 32 * 2**20

pytestmark = pytest.mark.skipif(backend().name != "native", reason="the compiled extension is not installed")


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a bundle."""
    return bundle_of(checkpoint, tmp_path_factory.mktemp("honest") / "tiny")


@pytest.fixture
def lying(bundle: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(bundle, tmp_path / "lying"))


def use(path: Path, mode: str, streamed: bool) -> None:
    tracemalloc.start()
    try:
        model = SparseModel.load(path, mode=mode, streamed=streamed)
        with np.errstate(all="ignore"):
            pages = KVPages(model.config, 1)
            model.decoder(pages).step(1, 0, np.zeros(1, np.int32))
    except (LanguageModelError, ModelUnsupported) as error:
        assert str(path) in str(error), str(error)
        assert len(str(error)) < 1000
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MOST_BYTES, f"{peak} bytes"


@FUZZ
@given(data=st.data(), mode=st.sampled_from(["exact", "predictor"]), streamed=st.booleans())
def test_a_lying_manifest(bundle: Path, lying: Path, data: st.DataObject, mode: str, streamed: bool) -> None:
    original = json.loads((bundle / "bundle.json").read_text())
    (lying / "bundle.json").write_bytes(to_json(data.draw(changed_json(original))))
    use(lying, mode, streamed)


@FUZZ
@given(data=st.data(), mode=st.sampled_from(["exact", "predictor"]))
def test_a_lying_header_of_the_resident_part(bundle: Path, lying: Path, data: st.DataObject, mode: str) -> None:
    content = (bundle / "resident.safetensors").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = to_json(data.draw(changed_json(json.loads(content[8:end]))))
    stated = data.draw(st.sampled_from([len(header)] * 6 + [0, len(header) - 1, len(header) + 1, 2**63, 2**64 - 1]))
    (lying / "resident.safetensors").write_bytes(stated.to_bytes(8, "little") + header + content[end:])
    use(lying, mode, streamed=True)


@FUZZ
@given(data=st.data())
def test_a_lying_config(bundle: Path, lying: Path, data: st.DataObject) -> None:
    original = json.loads((bundle / "config.json").read_text())
    (lying / "config.json").write_bytes(to_json(data.draw(changed_json(original))))
    use(lying, "exact", streamed=data.draw(st.booleans()))


@FUZZ
@given(kept=st.floats(0, 1))
def test_a_shortened_file_of_neurons(bundle: Path, lying: Path, kept: float) -> None:
    content = (bundle / "neurons.bin").read_bytes()
    (lying / "neurons.bin").write_bytes(content[: int(len(content) * kept)])
    use(lying, "exact", streamed=True)
