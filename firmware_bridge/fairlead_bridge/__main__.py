"""``python -m fairlead_bridge [--json] [--measure] [--path DIR]``: print what this device's hardware says."""

from __future__ import annotations

import argparse
import json
import sys

from fairlead_bridge.form import to_json, to_table
from fairlead_bridge.inventory import read_inventory


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    inventory = read_inventory(path=options.path, measure=options.measure)
    if options.json:
        json.dump(to_json(inventory), sys.stdout, indent=2, allow_nan=False)
        print()
    else:
        print(to_table(inventory))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("fairlead_bridge", description="Print what this device's hardware says.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="also measure memory bandwidth and storage speed (about a second, a scratch file of 16 MiB)",
    )
    parser.add_argument("--path", default="/", help="where artifacts are kept: the storage to describe (default /)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
