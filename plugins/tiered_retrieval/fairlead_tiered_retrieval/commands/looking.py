"""`fairlead vectors search`, `list`, `info`, `tiers` and `recall`: what is there and how good it is."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fairlead_agent.cli.output import Column, bytes_text, console, json_option, print_json, table
from fairlead_agent.graph.display import plain_name, show

from ..client import Client, Results
from .connection import with_service
from .readers import BadFile, read_queries


@click.command()
@click.argument("collection")
@click.argument("query", required=False)
@click.option("--file", "file", type=click.Path(path_type=Path), help="Query vectors instead of a text.")
@click.option("--k", "-k", type=click.IntRange(1), default=5, show_default=True, help="Results of each query.")
@click.option("--mode", type=click.Choice(["vector", "text", "hybrid"]), help="Default: vector.")
@click.option("--filter", "condition", help='Which documents, in JSON: {"lang": "en", "year": {"ge": 1990}}.')
@click.option("--recall", type=click.FloatRange(0, 1, min_open=True), help="To reach on average; 1: exact.")
@json_option
@with_service
def search(
    collection: str,
    query: str | None,
    file: Path | None,
    k: int,
    mode: str | None,
    condition: str | None,
    recall: float | None,
    as_json: bool,
    client: Client,
) -> None:
    """Search COLLECTION for QUERY, a text, or for the vectors of a file."""
    if (query is None) == (file is None):
        raise click.UsageError("give a QUERY or --file, one of them")
    found = None if file is None else read_queries(file)
    began = time.monotonic()
    results = client.collection(collection).search(
        found, texts=query, k=k, mode=mode, filter=_condition(condition), recall=recall
    )
    seconds = time.monotonic() - began
    if as_json:
        print_json(_as_json(results))
        return
    for number, hits in enumerate(results):
        title = "" if len(results) == 1 else f"Query {number}"
        console().print(hit_table(hits, title) if hits else f"{title}: nothing was found".lstrip(": "))
    click.echo(_line(results, seconds))


def hit_table(hits: list[Any], title: str = "") -> Any:
    """One row a hit."""
    rows = [(f"{hit.distance:.4f}", hit.id, hit.text, _shown(hit.metadata)) for hit in hits]
    columns = [Column("distance"), Column("id"), Column("text", 1, wraps=True), Column("metadata", 2, wraps=True)]
    kept = [index for index in range(4) if index < 2 or any(row[index] for row in rows)]
    return table(title, [columns[index] for index in kept], [[row[index] for index in kept] for row in rows])


@click.command("list")
@json_option
@with_service
def list_collections(as_json: bool, client: Client) -> None:
    """Show the collections."""
    found = client.collections()
    if as_json:
        print_json(found)
    elif not found:
        click.echo("There are no collections. See `fairlead vectors import --help`.")
    else:
        console().print(collection_table(found))


def collection_table(found: list[dict[str, Any]]) -> Any:
    """One row a collection."""
    rows = [
        (
            each["name"],
            f"{each['count']:,}",
            f"{each['dim']} {each['element']}",
            each["metric"],
            each["index"],
            each["tier"],
            bytes_text(each["dram_bytes"]),
            bytes_text(each["tier_bytes"]),
        )
        for each in found
    ]
    columns = ("collection", Column("documents"), "vectors", Column("metric", 2), Column("index", 1), "tier")
    return table("Collections", (*columns, "main memory", "in the tier"), rows)


@click.command()
@click.argument("collection")
@json_option
@with_service
def info(collection: str, as_json: bool, client: Client) -> None:
    """Show what COLLECTION holds, where it lies and how its searches fare."""
    found = client.collection(collection).info()
    if as_json:
        print_json(found)
        return
    console().print(collection_table([found]))
    if found["reason"]:
        click.echo(f"  {found['index']}: {found['reason']}")
    for problem in found["problems"]:
        click.secho(f"  {problem}", fg="yellow")
    for name, value in found.get("searches", {}).items():
        click.echo(f"  {_searched(name, value)}")
    if found.get("recall"):
        click.echo(f"  {_recall_line(found['recall'])}")


@click.command()
@json_option
@with_service
def tiers(as_json: bool, client: Client) -> None:
    """Show where vectors may lie, and what lies there."""
    found = client.tiers()
    if as_json:
        print_json(found)
        return
    rows = [
        (each["tier"], each["where"], ", ".join(each["collections"]), bytes_text(each["bytes"]))
        for each in found["tiers"]
    ]
    console().print(table("Tiers", ("tier", Column("where", 1, wraps=True), "collections", "bytes"), rows))


@click.command()
@click.argument("collection")
@click.option("--sample", type=click.IntRange(1), default=100, show_default=True, help="Queries.")
@click.option("--k", "-k", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--of",
    type=click.Choice(["vectors", "queries"]),
    default="vectors",
    show_default=True,
    help="Of the sample.",
)
@json_option
@with_service
def recall(collection: str, sample: int, k: int, of: str, as_json: bool, client: Client) -> None:
    """Compare searches of COLLECTION with exact ones, for a sample of its vectors or the queries that came of late."""
    found = client.collection(collection).recall(sample, k, of)
    if as_json:
        print_json(found)
    else:
        click.echo(_recall_line(found))


@click.command()
@click.argument("collection")
@click.option("--queries", type=click.Path(path_type=Path), help="A file of vectors. Default: those that came of late.")
@json_option
@with_service
def calibrate(collection: str, queries: Path | None, as_json: bool, client: Client) -> None:
    """Measure anew what effort a recall of COLLECTION takes, by queries as they come; half of them check it."""
    found = client.collection(collection).calibrate(None if queries is None else read_queries(queries))
    if as_json:
        print_json(found)
        return
    for when in ("before", "after"):
        click.echo(f"{when}: {_recall_line(found[when])}")


def _recall_line(found: dict[str, Any]) -> str:
    low, high = found["low"], found["high"]
    return (
        f"recall@{found['k']} {found['recall']:.4f} ({low:.3f} to {high:.3f} with 95 % confidence) "
        f"on {found['queries']} queries"
    )


def _condition(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadFile(f"--filter {text!r}: {error}; accepted: an object in JSON") from None


def _line(results: Results, seconds: float) -> str:
    text = f"{seconds * 1000:.1f} ms"
    if results.reads:
        text += f", {results.reads} vectors ({bytes_text(results.tier_bytes)}) read from the tier"
    if not results.complete:
        lost = f" (shards {', '.join(map(str, results.missing))})" if results.missing else ""
        text += click.style(f"; PARTIAL: not everything answered{lost}", fg="yellow")
    return text


def _as_json(results: Results) -> dict[str, Any]:
    hits = [[_plain(asdict(hit)) for hit in row] for row in results]
    return {"results": hits, "complete": results.complete, "missing": list(results.missing)}


def _plain(hit: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in hit.items() if value is not None}


def _shown(metadata: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (metadata or {}).items())


def _searched(name: str, value: float) -> str:
    """A count of searches in words: bytes, seconds and plain numbers each as they are read."""
    of_query = name.endswith("_per_query")
    plain = name.removesuffix("_per_query")
    return f"{plain_name(plain)}{' per query' if of_query else ''}: {show(plain, round(value, 6))}"
