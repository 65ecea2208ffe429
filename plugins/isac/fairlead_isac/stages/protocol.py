"""What every stage of integration offers, so that stages can be compared and switched while they run."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from fairlead_isac.scenario import Budget, Channels, Target, User
from fairlead_isac.stages.decision import Decision


@runtime_checkable
class Stage(Protocol):
    """One way of sharing a cell between communication and sensing: separated, orthogonal, converged, collaborative."""

    name: str

    @property
    def users(self) -> tuple[User, ...]:
        """In the order in which they were added."""
        ...

    @property
    def targets(self) -> tuple[Target, ...]:
        """In the order in which they were added."""
        ...

    def add_user(self, user: User) -> None:
        """Serve a user from the next decision on; raises ``IsacError`` where the name is taken."""
        ...

    def remove_user(self, name: str) -> None:
        """Stop serving a user; raises ``IsacError`` where nobody has the name."""
        ...

    def add_target(self, target: Target) -> None:
        """Sense a target from the next decision on; raises ``IsacError`` where the name is taken."""
        ...

    def remove_target(self, name: str) -> None:
        """Stop sensing a target; raises ``IsacError`` where none has the name."""
        ...

    def decide(self, channels: Channels, budget: Budget) -> Decision:
        """Schedule the next frame. Never raises on hard inputs: what cannot be met is named in the decision."""
        ...
