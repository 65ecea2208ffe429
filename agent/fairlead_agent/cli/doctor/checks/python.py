"""Python's version."""

from __future__ import annotations

import platform
import sys

from fairlead_agent.cli.doctor.check import Check, Finding


class PythonVersion(Check):
    """The oldest supported Python is 3.11."""

    name = "python"
    question = "Is Python new enough?"

    def run(self) -> Finding:
        """Look."""
        found = f"Python {platform.python_version()} on {platform.machine()}"
        if sys.version_info < (3, 11):  # noqa: UP036 (a copied tree runs under any Python)
            return Finding("problem", found, "install Python 3.11 or newer")
        return Finding("ok", found)
