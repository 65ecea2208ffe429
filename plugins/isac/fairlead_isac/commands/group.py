"""`fairlead isac` and its commands."""

from __future__ import annotations

import click

from .asking import cancel, control, request
from .processing import process
from .simulating import simulate
from .watching import watch

#: \b: what follows is not wrapped.
HELP = """Sense and communicate over one radio.

\b
fairlead isac request --class 3 --range 150     what can be met, and why not
fairlead isac watch                             rates, requests and decisions, live
fairlead isac simulate street --out pictures    a scenario without a fleet
fairlead isac process CAPTURE --out picture.png a recorded capture, with detections
"""


@click.group(help=HELP)
def isac() -> None:
    """The commands."""


for command in (request, watch, cancel, control, simulate, process):
    isac.add_command(command)
