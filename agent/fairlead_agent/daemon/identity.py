"""Who this node is: one identity for life, and an incarnation that grows at each start."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead_agent.messages.base import NAME_PATTERN


class IdentityError(RuntimeError):
    """The identity file cannot be read, written or understood."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's name and how often it has started."""

    node: str
    incarnation: int


def next_identity(state_dir: Path, node: str) -> Identity:
    """Count this start: the new incarnation is on disk before anyone hears of it.

    Raises:
        IdentityError: the folder belongs to another node, or the file is damaged or cannot be written.
    """
    if not re.fullmatch(NAME_PATTERN, node):
        raise IdentityError(f"node name {node!r}: small letters, digits, '-' and '_' are accepted, at most 63")
    path = state_dir / "identity.json"
    known = _read(path)
    if known is not None and known.node != node:
        raise IdentityError(f"{path}: this folder belongs to node {known.node!r}, not {node!r}")
    identity = Identity(node, 1 if known is None else known.incarnation + 1)
    _write(path, identity)
    return identity


def _read(path: Path) -> Identity | None:
    try:
        values: Any = json.loads(path.read_text())
        return Identity(str(values["node"]), int(values["incarnation"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IdentityError(f"{path}: not a node's identity ({type(error).__name__}: {error})") from None


def _write(path: Path, identity: Identity) -> None:
    temporary = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w") as file:
            json.dump({"node": identity.node, "incarnation": identity.incarnation}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
