"""`fairlead isac` and its commands."""

from __future__ import annotations

import click

from .asking import cancel, control, request
from .watching import watch

#: \b: what follows is not wrapped.
HELP = """Sense and communicate over one radio.

\b
fairlead isac request --class 3 --range 150     what can be met, and why not
fairlead isac watch                             rates, requests and decisions, live
"""


@click.group(help=HELP)
def isac() -> None:
    """The commands."""


for command in (request, watch, cancel, control):
    isac.add_command(command)
