"""`fairlead vectors` and its commands."""

from __future__ import annotations

import click

from .adapting import bench_adapter
from .importing import import_files
from .looking import calibrate, info, list_collections, recall, search, tiers
from .managing import create, delete, drop, maintain, move, restore, snapshot
from .studying import advise_command, study

#: \b: what follows is not wrapped.
HELP = """Import, search and move vectors of a retrieval workload.

\b
fairlead vectors import books *.txt             passages, and their vectors made on the device
fairlead vectors search books "a white whale"
fairlead vectors move books file                searches go on meanwhile
"""


@click.group(help=HELP)
def vectors() -> None:
    """The commands."""


for command in (
    create,
    import_files,
    search,
    list_collections,
    info,
    tiers,
    move,
    recall,
    calibrate,
    snapshot,
    restore,
    maintain,
    delete,
    drop,
    study,
    advise_command,
    bench_adapter,
):
    vectors.add_command(command)
