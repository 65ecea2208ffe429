"""``python -m fairlead_bridge.shaping apply PLAN.json | clear LINK | show | recover``: shaping by hand (needs root)."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from fairlead_bridge.form import to_table
from fairlead_bridge.shaping.apply import Shaper
from fairlead_bridge.shaping.difference import diff
from fairlead_bridge.shaping.errors import PlanError, ShapingError
from fairlead_bridge.shaping.journal import DEFAULT_DIRECTORY, Journal, plan_from_mapping, plan_to_mapping
from fairlead_bridge.shaping.plan import ShapingPlan
from fairlead_bridge.shaping.statistics import QueueSensor


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except PlanError as error:
        parser.error(str(error))
    except (ShapingError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


def _apply(options: argparse.Namespace) -> int:
    plan = _read(options.plan)
    if options.dry_run:
        committed = Journal(options.directory).committed(plan.link)
        steps = diff(committed.new if committed else None, plan)
    else:
        with Shaper(options.directory) as shaper:
            steps = shaper.apply(plan).steps
    print("\n".join(map(str, steps)) or "nothing to do")
    return 0


def _clear(options: argparse.Namespace) -> int:
    with Shaper(options.directory) as shaper:
        print("\n".join(map(str, shaper.clear(options.link).steps)) or "nothing to do")
    return 0


def _show(options: argparse.Namespace) -> int:
    journal = Journal(options.directory)
    for link in journal.links():
        committed = journal.committed(link)
        if committed and committed.new:
            print(json.dumps(plan_to_mapping(committed.new), indent=2))
    queues = QueueSensor().read()
    print(to_table(queues) if queues else str(queues))
    return 0


def _recover(options: argparse.Namespace) -> int:
    with Shaper(options.directory) as shaper:
        for item in shaper.recovered:
            print(f"{item.link}: {'its plan' if item.plan else 'no shaping'} is in force again")
    return 0


def _read(path: str) -> ShapingPlan:
    try:
        with open(path, encoding="utf-8") as file:
            data: Any = json.load(file)
    except (OSError, ValueError) as error:
        raise PlanError(path, str(error), "a file with a plan in JSON") from error
    return plan_from_mapping(data)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m fairlead_bridge.shaping", description=__doc__)
    parser.add_argument("--directory", default=DEFAULT_DIRECTORY, help="where plans are kept (default %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    apply = commands.add_parser("apply", help="put a plan in force, whole or not at all; prints the steps")
    apply.add_argument("plan", metavar="PLAN.json")
    apply.add_argument("--dry-run", action="store_true", help="print the steps and do nothing")
    apply.set_defaults(run=_apply)
    clear = commands.add_parser("clear", help="take all our shaping off a link")
    clear.add_argument("link")
    clear.set_defaults(run=_clear)
    commands.add_parser("show", help="the plans in force, and what passes the queues").set_defaults(run=_show)
    commands.add_parser("recover", help="undo what a killed process left half done").set_defaults(run=_recover)
    return parser


if __name__ == "__main__":
    sys.exit(main())
