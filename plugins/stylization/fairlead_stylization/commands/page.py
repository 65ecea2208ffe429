"""`fairlead style-page`: the page with the slider, in a browser on this machine."""

from __future__ import annotations

import socket
import webbrowser
from threading import Timer
from typing import Any

import click

from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.names import workload_names

from ..errors import StylizationError
from .looks import find_service, require_local


@click.command("style-page")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(1, 65535), help="On this machine alone.")
@click.option("--open/--no-open", "shown", default=True, help="Open it in a browser.")
@click.option("--local", is_flag=True, help="Stylize in this process, without a fleet.")
@click.option(
    "--variant", default="edge", show_default=True, type=click.Choice(["edge", "quality"]), help="With --local."
)
@click.option("--workload", "-w", shell_complete=workload_names, help="Default: the only one of this plugin.")
@click.option("--service", help="Address of a service without a gateway.")
@click.option("--url", help="The control plane's address [env: FAIRLEAD_URL].")
@click.option("--token", help="An access token [env: FAIRLEAD_TOKEN].")
def style_page(port: int, shown: bool, local: bool, variant: str, **given: Any) -> None:
    """Serve the page to try stylization with; it ends with Ctrl-C."""
    import uvicorn

    try:
        require_local(variant, local)
        application = _here(variant) if local else _there(**given)
    except StylizationError as error:
        raise CliError(str(error)) from None
    place = listening(port)
    address = f"http://127.0.0.1:{port}/"
    click.echo(f"{address} (Ctrl-C ends it)")
    if shown:
        opening = Timer(0.5, webbrowser.open, (address,))
        opening.daemon = True
        opening.start()
    uvicorn.Server(uvicorn.Config(application, log_level="warning")).run(sockets=[place])


def listening(port: int) -> socket.socket:
    """A port of this machine alone, bound; raises CliError where somebody else has it."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind(("127.0.0.1", port))
    except OSError as error:
        place.close()
        raise CliError(f"--port {port}: {error.strerror or error}; accepted: a free port of this machine") from None
    return place


def _here(variant: str) -> Any:
    from ..networks.running import shipped_stylizer, student_file
    from ..pictures import Limits
    from ..service.application import Application
    from ..service.generating import Generator
    from ..service.stylist import Stylist
    from ..service.varied import Searcher

    stylizer = shipped_stylizer(variant)
    stylist = Stylist(stylizer, Limits(), Searcher(student_file(variant), stylizer))
    return Application(stylist, Generator(Limits())).asgi()


def _there(**given: Any) -> Any:
    from ..service.trying import Passing

    return Passing(*find_service(**given)).asgi()
