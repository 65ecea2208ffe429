"""What one cell's process posts to another's: that it is there, what is to be agreed upon, and agents' messages."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairlead_agent.plugin import complaint
from fairlead_isac.collaboration.fusion import Estimate
from fairlead_isac.collaboration.messages import from_json
from fairlead_isac.collaboration.network import SharedTarget, SharedTask, SharedUser
from fairlead_isac.errors import IsacError

MOST_TEXTS, MOST_TEXT, MOST_TARGETS, MOST_CELLS = 64, 64 << 10, 64, 64
MOST_PERIOD = 2**53
_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
Name = Annotated[str, Field(min_length=1, max_length=130)]
Positive = Annotated[float, Field(gt=0, le=1e18)]
Row = tuple[float, float, float, float]


class UserLine(BaseModel):
    """A user in a call; see `SharedUser`."""

    model_config = _FROZEN

    name: Name
    weight: Positive
    min_rate_bits_per_s: float = Field(ge=0, le=1e15)


class TargetLine(BaseModel):
    """A target in a call; see `SharedTarget`."""

    model_config = _FROZEN

    name: Name
    information: Positive
    deadline_s: Positive


class Call(BaseModel):
    """The first cell by name to the others: these cells agree upon this now."""

    model_config = _FROZEN

    cells: tuple[Name, ...] = Field(min_length=1, max_length=MOST_CELLS)
    users: tuple[UserLine, ...] = Field(max_length=64)
    targets: tuple[TargetLine, ...] = Field(max_length=MOST_CELLS * MOST_TARGETS)
    compute_cycles_per_s: Positive

    @classmethod
    def of(cls, cells: tuple[str, ...], task: SharedTask) -> Call:
        """A task as it is posted."""
        users = tuple(
            UserLine(name=each.name, weight=each.weight, min_rate_bits_per_s=each.min_rate_bits_per_s)
            for each in task.users
        )
        targets = tuple(
            TargetLine(name=each.name, information=each.information, deadline_s=each.deadline_s)
            for each in task.targets
        )
        return cls(cells=cells, users=users, targets=targets, compute_cycles_per_s=task.compute_cycles_per_s)

    def task(self) -> SharedTask:
        """The task that was called; raises ``IsacError`` where a name is there twice."""
        users = tuple(SharedUser(each.name, each.weight, each.min_rate_bits_per_s) for each in self.users)
        targets = tuple(SharedTarget(each.name, each.information, each.deadline_s) for each in self.targets)
        return SharedTask(users, targets, self.compute_cycles_per_s)


class EstimateLine(BaseModel):
    """An estimate of a target; see `fusion.Estimate`."""

    model_config = _FROZEN

    unix_s: float = Field(ge=0, le=1e11)
    mean: tuple[float, float, float, float]
    covariance: tuple[Row, Row, Row, Row]

    @classmethod
    def of(cls, estimate: Estimate) -> EstimateLine:
        """An estimate as it is posted."""
        mean, covariance = estimate.mean.tolist(), estimate.covariance.tolist()
        return cls(unix_s=estimate.time_s, mean=tuple(mean), covariance=tuple(tuple(row) for row in covariance))

    def estimate(self, cell: str) -> Estimate:
        """The estimate that was posted; raises ``IsacError`` where its covariance is none."""
        return Estimate(cell, self.unix_s, np.array(self.mean), np.array(self.covariance))


class Letter(BaseModel):
    """One post. Every letter says that its sender is there and what it has promised to sense."""

    model_config = _FROZEN

    cell: Name = Field(description="Who speaks.")
    replica: int = Field(ge=0, description="Of the workload, which that cell is.")
    epoch: int = Field(ge=0, description="Of the sender's lease.")
    opener: str = Field(default="", max_length=130, description="Who called the period; empty: none runs.")
    period: int = Field(ge=0, le=MOST_PERIOD, description="In which agents speak; grows with every call.")
    targets: dict[Name, Positive] = Field(
        default_factory=dict, max_length=MOST_TARGETS, description="What the sender senses, and within which time in s."
    )
    call: Call | None = Field(default=None, description="To who has not spoken in this period yet.")
    estimates: dict[Name, EstimateLine] = Field(
        default_factory=dict,
        max_length=MOST_TARGETS,
        description="The sender's newest, by name of targets.",
    )
    texts: tuple[Annotated[str, Field(max_length=MOST_TEXT)], ...] = Field(
        default=(), max_length=MOST_TEXTS, description="Messages of the sender's agent, oldest first."
    )


def read_letter(raw: bytes) -> Letter:
    """Check a letter and all messages in it.

    Raises:
        IsacError: one line that names the bad field, its value and what is accepted.
    """
    try:
        letter = Letter.model_validate_json(raw)
        if letter.call is not None:
            letter.call.task()
        for line in letter.estimates.values():
            line.estimate(letter.cell)
        for text in letter.texts:
            from_json(text)
    except ValidationError as error:
        raise IsacError(complaint(error, Letter, "letter")[:2000]) from None
    except RecursionError:
        raise IsacError("letter: nested too deeply; accepted: one JSON object") from None
    return letter
