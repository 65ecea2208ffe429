"""Finding the workers that an earlier agent left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fairlead_agent.runtime.process import ProcessMark
from fairlead_agent.runtime.spec import HostSpec, SpecError, read_spec


@dataclass(frozen=True, slots=True)
class Candidate:
    """A folder with a worker that lives and is provably ours."""

    spec: HostSpec
    mark: ProcessMark


def find_candidates(folder: Path) -> tuple[list[Candidate], list[str]]:
    """Look through the instances' folders.

    Returns:
        The candidates, and what was found that is none, as text for the log.
    """
    candidates: list[Candidate] = []
    remarks: list[str] = []
    for path in sorted(folder.glob("*/spec.json")):
        try:
            candidates.append(_candidate(path))
        except (SpecError, OSError, ValidationError, LookupError) as error:
            remarks.append(f"{path.parent.name}: {error}")
    return candidates, remarks


def _candidate(path: Path) -> Candidate:
    spec = read_spec(path)
    if spec.folder != path.parent:
        raise LookupError(f"the spec is of {spec.folder}")
    mark = ProcessMark.model_validate_json(ProcessMark.path(spec.folder).read_bytes())
    if not mark.is_ours(spec):
        raise LookupError(f"its worker (pid {mark.pid}) is gone")
    return Candidate(spec, mark)
