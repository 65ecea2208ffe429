"""What a self-check is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

Level = Literal["ok", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and what to do about it where something is to be done."""

    level: Level
    what: str
    mend: str = ""


class Check(ABC):
    """One question about this device. It may look, not change; it never raises for what it looks for."""

    name: ClassVar[str]
    question: ClassVar[str]

    @abstractmethod
    def run(self) -> Finding:
        """Look."""
