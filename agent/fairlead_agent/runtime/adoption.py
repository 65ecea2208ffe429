"""Finding the workers that an earlier agent left."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fairlead_agent.runtime.limits.confinement import Limiter
from fairlead_agent.runtime.process import ProcessMark
from fairlead_agent.runtime.spec import HostSpec, SpecError, read_spec


@dataclass(frozen=True, slots=True)
class Candidate:
    """A folder with a worker that lives and is provably ours."""

    spec: HostSpec
    mark: ProcessMark


@dataclass(frozen=True, slots=True)
class Remains:
    """A folder whose worker is gone, or cannot be told from a stranger's process."""

    folder: Path
    why: str


def find_candidates(folder: Path) -> tuple[list[Candidate], list[Remains]]:
    """Look through the instances' folders: which have a worker to adopt, and which have not."""
    candidates: list[Candidate] = []
    remains: list[Remains] = []
    for path in sorted(folder.glob("*/spec.json")):
        try:
            candidates.append(_candidate(path))
        except (SpecError, OSError, ValidationError, LookupError) as error:
            remains.append(Remains(path.parent, str(error)))
    return candidates, remains


def clear_remains(remains: Remains, limiter: Limiter) -> None:
    """Take away the files of a folder but its log, and its control group.

    What still runs in that group is ours by the group's name, which is made of this state folder's, and is killed.
    """
    confinement = limiter.confine(remains.folder.name, None)
    for pid in confinement.members():
        os.kill(pid, signal.SIGKILL)
    confinement.remove()
    for name in ("spec.json", "process.json", "outcome.json", "data.sock", "control.sock"):
        (remains.folder / name).unlink(missing_ok=True)


def _candidate(path: Path) -> Candidate:
    spec = read_spec(path)
    if spec.folder != path.parent:
        raise LookupError(f"the spec is of {spec.folder}")
    mark = ProcessMark.model_validate_json(ProcessMark.path(spec.folder).read_bytes())
    if not mark.is_ours(spec):
        raise LookupError(f"its worker (pid {mark.pid}) is gone")
    return Candidate(spec, mark)
