"""The compiled kernels."""

from __future__ import annotations

import json
import subprocess
import sys

from fairlead_agent.cli.doctor.check import Check, Finding

_ASK = "import json, fairlead_kernels as k; b = k.backend(); print(json.dumps([b.name, b.isa, b.reason]))"
#: Until they must have been imported.
TIMEOUT_S = 30.0


class Kernels(Check):
    """Language models run on compiled kernels, or, more slowly, on NumPy."""

    name = "kernels"
    question = "Are the compiled kernels there?"

    def run(self) -> Finding:
        """Ask in another process: this one stays free of NumPy."""
        command = [sys.executable, "-c", _ASK]
        try:
            asked = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return Finding(
                "problem", f"fairlead-kernels cannot be imported within {TIMEOUT_S:g} s", "is this machine busy?"
            )
        if asked.returncode != 0:
            last = (asked.stderr.strip().splitlines() or ["no words"])[-1]
            if "No module named 'fairlead_kernels'" in last:
                return Finding("warning", "fairlead-kernels is not installed", "pip install fairlead-kernels")
            return Finding("problem", last, "reinstall fairlead-kernels, or mend FAIRLEAD_KERNELS")
        name, isa, reason = json.loads(asked.stdout)
        if name != "native":
            return Finding("warning", f"NumPy kernels ({reason})", "install a C++20 compiler and reinstall")
        return Finding("ok", f"compiled kernels, {isa}")
