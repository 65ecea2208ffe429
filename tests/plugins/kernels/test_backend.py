"""The choice of a backend, by environment and by call, and the announced fallback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fairlead_kernels as fk
from tests.plugins.kernels.cases import ISAS, needs_native

FOLDER = Path(fk.__file__).parent.parent
REPORT = "import fairlead_kernels as f; print(f.backend())"
WITHOUT_EXTENSION = "import sys; sys.modules['fairlead_kernels._native'] = None\n" + REPORT


def run(code: str, choice: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "FAIRLEAD_KERNELS"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(FOLDER), environment.get("PYTHONPATH"))))
    if choice is not None:
        environment["FAIRLEAD_KERNELS"] = choice
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@needs_native
def test_the_best_isa_is_taken() -> None:
    assert fk.select() == fk.backend() == fk.Backend("native", ISAS[0])
    assert ISAS[-1] == "plain"


@needs_native
@pytest.mark.parametrize("choice", ISAS)
def test_the_environment_forces_an_isa(choice: str) -> None:
    assert run(REPORT, choice).stdout.strip() == str(fk.Backend("native", choice))


def test_the_environment_forces_numpy() -> None:
    assert "name='numpy'" in run(REPORT, "numpy").stdout


def test_an_unknown_choice_is_an_error() -> None:
    done = run(REPORT, "fortran")
    assert done.returncode != 0
    choices = "native, numpy, avx512vnni, avx512, avx2, neon_dotprod, neon, plain"
    assert f"FAIRLEAD_KERNELS: must be one of {choices}, got 'fortran'" in done.stderr


@needs_native
def test_an_isa_of_another_processor_is_an_error() -> None:
    absent = "neon" if "neon" not in ISAS else "avx2"
    with pytest.raises(fk.BackendError, match=f"FAIRLEAD_KERNELS={absent}: this build on this processor has .*plain"):
        fk.select(absent)
    assert fk.backend().name == "native"


def test_without_the_extension_numpy_runs_and_says_why() -> None:
    done = run(WITHOUT_EXTENSION)
    assert "name='numpy'" in done.stdout
    assert "the compiled extension cannot be loaded" in done.stdout


def test_demanding_native_without_the_extension_is_an_error() -> None:
    done = run(WITHOUT_EXTENSION, "native")
    assert done.returncode != 0
    assert "BackendError: FAIRLEAD_KERNELS=native: the compiled extension cannot be loaded" in done.stderr


def test_numpy_reports_one_thread() -> None:
    fk.select("numpy")
    fk.set_threads(4)
    assert fk.threads() == 1
