"""`fairlead vectors import`: files into a collection, with a bar that says how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fairlead_agent.cli.output import bytes_text, console

from ..client import Client, CollectionClient, RequestRefused
from ..settings import DEFAULT_MODEL
from .connection import with_service
from .readers import Batch, Source, open_source

#: Texts that a service embeds in one request: each takes it some milliseconds.
TEXT_BATCH = 64


@click.command("import")
@click.argument("collection")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--metric", type=click.Choice(["cosine", "l2", "dot"]), help="Of a new collection; default: cosine.")
@click.option("--words", type=click.IntRange(5), default=100, show_default=True, help="Of a passage of plain text.")
@click.option("--lines", is_flag=True, help="Plain text has a document in each line.")
@click.option("--prefix", help="Of the ids of documents that have none in the file.")
@click.option("--embed-here", is_flag=True, help="Make vectors of texts on this machine, not on the service's.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="For --embed-here: a name or a folder.")
@with_service
def import_files(collection: str, files: tuple[Path, ...], client: Client, **given: Any) -> None:
    """Import FILES into COLLECTION, which is made where it is not there.

    .npy, .fvecs, .bvecs, .ivecs and .parquet files hold vectors, .jsonl files objects with id, vector, text and
    metadata, and plain text is cut into passages whose vectors are made by the service's embedding model.
    """
    options = {name: given[name] for name in ("words", "lines", "prefix")}
    sources = [open_source(path, **options) for path in files]
    embed = _embedding(given["model"]) if given["embed_here"] else None
    target = _collection(client, collection, sources, given["metric"], embed)
    began, count, size = time.monotonic(), 0, 0
    with _bar() as bar:
        for path, source in zip(files, sources, strict=True):
            task = bar.add_task(path.name, total=source.count)
            for batch in _pieces(source, embed):
                target.upsert(batch.ids, batch.vectors, texts=batch.texts, metadata=batch.metadata)
                count, size = count + len(batch.ids), size + _bytes(batch)
                bar.update(task, advance=len(batch.ids))
    seconds = max(1e-9, time.monotonic() - began)
    click.echo(
        f"{count:,} documents ({bytes_text(size)}) imported into {collection} in {seconds:.1f} s, "
        f"{count / seconds:,.0f}/s"
    )
    click.echo(f"  fairlead vectors info {collection}")


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console(stderr=True))


def _collection(client: Client, name: str, sources: list[Source], metric: str | None, embed: Any) -> CollectionClient:
    """The collection, made for what the files hold where it is not there."""
    try:
        client.collection(name).info()
        return client.collection(name)
    except RequestRefused as error:
        if error.status != 404:
            raise
    dim = next((source.dim for source in sources if source.dim), embed.dim if embed else None)
    element = next((source.element for source in sources if source.element), None)
    return client.create(name, dim=dim, element=element, metric=metric)


def _pieces(source: Source, embed: Any) -> Iterator[Batch]:
    """Batches as they are sent: texts without vectors in small ones, for whoever makes the vectors."""
    for batch in source.batches():
        if batch.vectors is not None:
            yield batch
            continue
        for start in range(0, len(batch.ids), TEXT_BATCH):
            part = slice(start, start + TEXT_BATCH)
            texts = (batch.texts or [])[part]
            vectors = embed.embed([text or "" for text in texts]) if embed else None
            metadata = None if batch.metadata is None else batch.metadata[part]
            yield replace(batch, ids=batch.ids[part], vectors=vectors, texts=texts, metadata=metadata)


def _embedding(model: str) -> Any:
    from ..embedding.model import open_model

    name = str(Path(model).absolute()) if "/" in model else model
    with console(stderr=True).status(f"loading {model}"):
        return open_model(name)


def _bytes(batch: Batch) -> int:
    texts = sum(len((text or "").encode()) for text in batch.texts or ())
    return texts + (batch.vectors.nbytes if batch.vectors is not None else 0)
