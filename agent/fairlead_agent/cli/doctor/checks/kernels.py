"""The compiled kernels."""

from __future__ import annotations

import subprocess
import sys

from fairlead_agent.cli.doctor.check import Check, Finding

_ASK = "import fairlead_kernels as k; b = k.backend(); print(b.name, b.isa, b.reason or '')"


class Kernels(Check):
    """Language models run on compiled kernels, or, more slowly, on NumPy."""

    name = "kernels"
    question = "Are the compiled kernels there?"

    def run(self) -> Finding:
        """Ask in another process: this one stays free of NumPy."""
        asked = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=30, check=False)
        if asked.returncode != 0:
            return Finding("warning", "fairlead-kernels is not installed", "pip install fairlead-kernels")
        name, isa, reason = (
            asked.stdout.strip().split(" ", 2) if asked.stdout.count(" ") >= 2 else (*asked.stdout.split(), "")
        )
        if name != "native":
            return Finding("warning", f"NumPy kernels ({reason})", "install a C++20 compiler and reinstall")
        return Finding("ok", f"compiled kernels, {isa}")
