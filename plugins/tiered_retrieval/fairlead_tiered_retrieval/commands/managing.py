"""`fairlead vectors create`, `move`, `snapshot`, `restore`, `maintain`, `delete` and `drop`."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from fairlead_agent.cli.output import bytes_text, console, json_option, print_json

from ..client import Client
from .connection import with_service
from .looking import _condition


@click.command()
@click.argument("collection")
@click.option("--dim", type=click.IntRange(1), help="Of vectors; default: the embedding model's.")
@click.option(
    "--element",
    type=click.Choice(["float32", "float16", "bfloat16", "int8", "uint8", "bit"]),
    default="float32",
    show_default=True,
)
@click.option("--metric", type=click.Choice(["cosine", "l2", "dot"]), default="cosine", show_default=True)
@with_service
def create(collection: str, dim: int | None, element: str, metric: str, client: Client) -> None:
    """Make an empty COLLECTION."""
    client.create(collection, dim=dim, element=element, metric=metric)
    found = client.collection(collection).info()
    click.echo(f"{collection}: {found['dim']} {found['element']}, {found['metric']}, {found['count']:,} documents")


@click.command()
@click.argument("collection")
@click.argument("tier", type=click.Choice(["dram", "file", "memory"]))
@click.option("--region", "region", help="memory://HOST:PORT/REGION; default: the workload's memory_nodes.")
@click.option("--index", type=click.Choice(["graph", "lists"]), help="In a lower tier; default: as the tier suggests.")
@json_option
@with_service
def move(collection: str, tier: str, region: str | None, index: str | None, as_json: bool, client: Client) -> None:
    """Move the vectors of COLLECTION to TIER; searches go on meanwhile."""
    began = time.monotonic()
    with console(stderr=True).status(f"moving {collection} to {tier}"):
        moved = client.collection(collection).move(tier, region, index)
    if as_json:
        print_json(moved)
        return
    click.echo(
        f"{collection}: {moved['was']} -> {moved['tier']} ({moved['index']}) in {time.monotonic() - began:.1f} s; "
        f"{bytes_text(moved['dram_bytes'])} in main memory, {bytes_text(moved['tier_bytes'])} in the tier"
    )


@click.command()
@click.argument("collection")
@click.option("--name", help="Of the snapshot; default: the time.")
@with_service
def snapshot(collection: str, name: str | None, client: Client) -> None:
    """Write a consistent copy of COLLECTION on the service's node."""
    with console(stderr=True).status(f"copying {collection}"):
        made = client.collection(collection).snapshot(name)
    click.echo(f"{made['folder']}: {made['count']:,} documents, {bytes_text(made['bytes'])}")


@click.command()
@click.argument("collection")
@click.argument("snapshot")
@click.argument("into")
@with_service
def restore(collection: str, snapshot: str, into: str, client: Client) -> None:
    """Make a new collection INTO of a SNAPSHOT of COLLECTION (`fairlead vectors info` names them)."""
    with console(stderr=True).status(f"restoring {snapshot}"):
        made = client.collection(collection).restore(snapshot, into)
    click.echo(f"{into}: {made['count']:,} documents, as {collection} was at {snapshot}")


@click.command()
@click.argument("collection")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=5.0, show_default=True)
@with_service
def maintain(collection: str, seconds: float, client: Client) -> None:
    """Have the service work now on what updates of COLLECTION have left behind."""
    with console(stderr=True).status(f"maintaining {collection}"):
        left = client.collection(collection).maintain(seconds)
    rest = "nothing is left to do" if left["finished"] else f"{left['doing']}: {left['done']:,} of {left['total']:,}"
    click.echo(f"{collection}: {rest}")


@click.command()
@click.argument("collection")
@click.argument("ids", nargs=-1)
@click.option("--filter", "condition", help="Every document that it fits, in JSON.")
@with_service
def delete(collection: str, ids: tuple[str, ...], condition: str | None, client: Client) -> None:
    """Delete documents of COLLECTION by IDS (whole numbers are numbers; quote them twice for texts) or by a filter."""
    if bool(ids) == (condition is not None):
        raise click.UsageError("give IDS or --filter, one of them")
    known: Any = [_id(each) for each in ids] or None
    count = client.collection(collection).delete(known, filter=_condition(condition))
    click.echo(f"{count:,} documents deleted")


@click.command()
@click.argument("collection")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_service
def drop(collection: str, yes: bool, client: Client) -> None:
    """Delete COLLECTION and all that is in it."""
    count = client.collection(collection).info()["count"]
    if not yes:
        click.confirm(f"Delete {collection} with {count:,} documents?", abort=True)
    client.drop(collection)
    click.echo(f"{collection} is gone")


def _id(text: str) -> str | int:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int) and not isinstance(value, bool) else text
