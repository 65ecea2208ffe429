"""Stages by name, and changing from one to another while users and targets stay."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, cast

from fairlead_isac.errors import IsacError
from fairlead_isac.scenario import Cell
from fairlead_isac.stages.protocol import Stage

StageName = Literal["separated", "orthogonal", "converged", "collaborative", "full_duplex"]
#: Imported when asked for: module and class.
_CLASSES = {
    "separated": ("fairlead_isac.stages.separated", "SeparatedStage"),
    "orthogonal": ("fairlead_isac.stages.orthogonal", "OrthogonalStage"),
    "converged": ("fairlead_isac.stages.converged", "ConvergedStage"),
    "collaborative": ("fairlead_isac.collaboration.stage", "CollaborativeStage"),
    # What a full-duplex cell runs as its converged stage.
    "full_duplex": ("fairlead_isac.duplex.stage", "FullDuplexStage"),
}
STAGES: tuple[str, ...] = tuple(_CLASSES)


def stage(name: str, cell: Cell, **options: Any) -> Stage:
    """Make a stage of a cell, with nobody in it unless ``users`` and ``targets`` are given.

    Args:
        name: separated, orthogonal, converged, collaborative or full_duplex.
        cell: who sends.
        options: of the stage's class.

    Raises:
        IsacError: an unknown name, or one whose module is not installed.
    """
    if name not in _CLASSES:
        raise IsacError(f"stage {name!r} is not known; accepted: {', '.join(_CLASSES)}")
    module, kind = _CLASSES[name]
    try:
        made = cast("Callable[..., Stage]", getattr(import_module(module), kind))
    except ModuleNotFoundError as error:
        raise IsacError(f"stage {name!r} cannot be had: {error}") from None
    return made(cell, **options)


def switch(current: Stage, name: str, cell: Cell, **options: Any) -> Stage:
    """Another stage with the users and targets of the current one; the same one where it has that name."""
    if current.name == name and not options:
        return current
    return stage(name, cell, users=current.users, targets=current.targets, **options)
