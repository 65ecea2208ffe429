"""``python -m fairlead_agent.runtime.host SPEC.json``: one worker."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from fairlead_agent.runtime.exits import Exit
from fairlead_agent.runtime.files import write_private
from fairlead_agent.runtime.spec import Outcome, SpecError, read_spec


def main(arguments: list[str]) -> int:
    """Run the worker that a spec file describes."""
    if len(arguments) != 1:
        print("usage: python -m fairlead_agent.runtime.host SPEC.json", file=sys.stderr)
        return Exit.BAD_SPEC
    try:
        spec = read_spec(Path(arguments[0]))
    except SpecError as error:
        print(error, file=sys.stderr)
        return Exit.BAD_SPEC
    # Sockets and files of a worker are its user's alone.
    os.umask(0o077)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        from fairlead_agent.runtime.host.worker import WorkerHost
    except ImportError as error:
        print(error, file=sys.stderr)
        write_private(spec.outcome_path, Outcome(code=Exit.MISSING_EXTRA, reason=str(error)).model_dump_json())
        return Exit.MISSING_EXTRA
    WorkerHost(spec).run()
    return Exit.STOPPED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
