"""What enforces an instance's memory limit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar


class LimitBusyError(RuntimeError):
    """The new limit cannot be put in force: the instance still holds more, and the kernel cannot reclaim it."""


class Confinement(ABC):
    """The limit around one instance: its worker and all descendants."""

    KIND: ClassVar[str]

    @property
    def kind(self) -> str:
        """What enforces it: cgroup-v2, cgroup-v1, watchdog."""
        return self.KIND

    @property
    @abstractmethod
    def limit_bytes(self) -> int | None:
        """The limit in force; None: none."""

    @abstractmethod
    def admit(self, pid: int) -> None:
        """Put a fresh worker under the limit, and forget what happened to the one before it."""

    @abstractmethod
    def set_limit(self, limit_bytes: int | None) -> None:
        """Put another limit in force.

        Raises:
            LimitBusyError: more is in use and cannot be reclaimed; the old limit stays.
        """

    @abstractmethod
    def usage_bytes(self) -> int:
        """Memory held: anonymous and shared; not the page cache, which the kernel can drop."""

    @abstractmethod
    def exceeded(self) -> bool:
        """Whether the instance went over its limit since the worker was admitted."""

    @abstractmethod
    def members(self) -> list[int]:
        """The pids under the limit now."""

    @abstractmethod
    def remove(self) -> None:
        """Take the limit away with all that it left in the system. The members are gone already."""


class Limiter(ABC):
    """Makes confinements. ``why`` says why this kind was chosen."""

    KIND: ClassVar[str]

    def __init__(self, why: str = "") -> None:
        self.why = why

    @property
    def kind(self) -> str:
        return self.KIND

    @abstractmethod
    def confine(self, name: str, limit_bytes: int | None) -> Confinement:
        """The confinement of that name; one that exists already is taken over with its members.

        Raises:
            OSError: the system refuses.
        """

    def close(self) -> None:
        """Take away what it made for all confinements together, unless one of them is still there."""
        return
