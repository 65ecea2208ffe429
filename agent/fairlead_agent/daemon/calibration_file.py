"""What a node has learnt about its own estimates, kept over restarts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import structlog

from fairlead_agent.placement.calibration import Calibration
from fairlead_agent.runtime.files import write_private

log = structlog.get_logger()


class CalibrationFile:
    """Loads and saves a :class:`Calibration`. A damaged file costs what was learnt, and nothing else."""

    def __init__(self, path: Path, calibration: Calibration) -> None:
        self._path, self._calibration = path, calibration

    def load(self) -> None:
        """Take up what earlier starts have learnt."""
        try:
            values: Any = json.loads(self._path.read_text())
            self._calibration.load(values)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("calibration.not_loaded", file=str(self._path), reason=str(error))

    def save(self) -> None:
        """Keep what is known now."""
        try:
            write_private(self._path, json.dumps(self._calibration.dump()))
        except OSError as error:
            log.warning("calibration.not_saved", file=str(self._path), reason=error.strerror)
