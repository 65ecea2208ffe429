"""Pressure stall information: the share of time in which work waited for a resource."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairlead_bridge.reading import Missing
from fairlead_bridge.tree import Tree

_LINE = re.compile(r"^(some|full) avg10=([0-9]{1,3}\.[0-9]{1,2})\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pressure:
    """Shares (0..1) of the last ten seconds: ``some`` task waited, or ``full``: all tasks waited.

    The source is the kernel's Documentation/accounting/psi.rst; old kernels have no ``full`` for processors.
    """

    some_avg10_fraction: float
    full_avg10_fraction: float | Missing


def read_pressure(tree: Tree, path: str) -> Pressure | Missing:
    """Parse a PSI file, e.g. ``pressure/memory`` below /proc or ``memory.pressure`` in a control group."""
    text = tree.text(path)
    if isinstance(text, Missing):
        return text
    shares = {kind: float(percent) / 100 for kind, percent in _LINE.findall(text)}
    if "some" not in shares or max(shares.values()) > 1:
        return Missing(tree.name(path), f"expected 'some avg10=..', found {text[:40]!r}", "garbled")
    return Pressure(shares["some"], shares.get("full", Missing(tree.name(path), "no 'full' line")))
