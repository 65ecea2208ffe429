"""`fairlead memory-node`: lend this machine's memory; `fairlead tier-probe`: how fast a region answers."""

from __future__ import annotations

import json
import logging
import signal
import threading

import click

from ..errors import TieredRetrievalError
from .connection import TOKEN, TOKEN_FILE, read_token
from .node import MemoryNode
from .region import TierError
from .urls import open_region

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Bytes(click.ParamType):
    """Bytes, with a unit K, M, G or T of powers of 1024."""

    name = "bytes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        text = str(value).strip().upper().removesuffix("IB").removesuffix("B")
        digits = text.rstrip("KMGT")
        unit = text[len(digits) :]
        if not digits.isdecimal() or unit not in UNITS or int(digits) == 0:
            self.fail(f"{value!r}: accepted: a whole number above 0, with K, M, G or T", param, ctx)
        return int(digits) * UNITS[unit]


@click.command("memory-node")
@click.option("--capacity", type=Bytes(), required=True, help="Memory to lend in all, for example 8G.")
@click.option("--host", default="127.0.0.1", show_default=True, help="To listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=7411, show_default=True, help="0: any.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False), help=f"Else {TOKEN_FILE} or {TOKEN}.")
@click.option("--lease", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True, help="Seconds.")
@click.option("--shared", is_flag=True, help="Regions lie in shared memory, where this machine's clients read them.")
@click.option("--region", "regions", multiple=True, metavar="NAME=SIZE", help="Lent until the node ends; repeatable.")
def memory_node(
    capacity: int, host: str, port: int, token_file: str | None, lease: float, shared: bool, regions: tuple[str, ...]
) -> None:
    """Lend regions of this machine's memory to vector stores.

    Clients prove that they know the token; it is never sent. Data is not encrypted: listen in networks of friends.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    node = None
    try:
        token = read_token("memory-node", token_file)
        node = MemoryNode(capacity, token, host=host, port=port, lease_s=lease, shared=shared)
        for each in regions:
            name, _, size = each.partition("=")
            node.lend(name, Bytes().convert(size, None, None))
    except (TieredRetrievalError, OSError, RuntimeError) as error:
        if node is not None:
            node.stop()
        raise click.ClickException(str(error)) from error
    _serve(node, host)


@click.command("tier-probe")
@click.argument("url")
@click.option("--size", type=Bytes(), help="Of a region that is made for it.")
@click.option("--quick", is_flag=True, help="Few sizes and depths.")
@click.option("--json", "as_json", is_flag=True, help="As the advisor reads it.")
def tier_probe(url: str, size: int | None, quick: bool, as_json: bool) -> None:
    """Measure latency and rate of random reads of the region that URL names."""
    from .probe import probe

    try:
        with open_region(url, size) as region:
            found = probe(region, quick=quick)
    except (TieredRetrievalError, TierError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(found.to_json())
        return
    click.echo(f"{url} ({found.kind})\n{'bytes':>7}{'depth':>7}{'p50 us':>11}{'p99 us':>11}{'reads/s':>13}")
    for each in found.points:
        rate = f"{each.reads_per_s:,.0f}"
        click.echo(f"{each.length:>7}{each.depth:>7}{each.p50_us:>11.2f}{each.p99_us:>11.2f}{rate:>13}")


def _serve(node: MemoryNode, host: str) -> None:
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with node:
        click.echo(f"memory-node listens at {host}:{node.port}")
        while not over.wait(1.0):
            pass
        click.echo(json.dumps(node.statistics()))
