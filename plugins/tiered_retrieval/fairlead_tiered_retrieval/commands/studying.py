"""`fairlead vectors study` and `fairlead vectors advise`: which index for which data, device and target."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fairlead_agent.cli.output import json_option, print_json

from ..advisor.advice import NoPlan, Target, advise
from ..advisor.costs import Shape, Tier
from ..errors import TieredRetrievalError
from .readers import BadFile, read_queries

if TYPE_CHECKING:
    from ..tiers.region import Region

REGION_BYTES = 128 << 20
DELAYS_US = (0.0, 2.0, 10.0, 50.0)


@click.command()
@click.option("--tier", "tiers", multiple=True, metavar="URL", help="To look at; repeatable. Default: all here.")
@click.option("--vectors", type=click.Path(path_type=Path), help="Vectors like those to come. Default: a text model's.")
@click.option("--recall", type=click.FloatRange(0.5, 0.9999), default=0.95, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="For every point, JSON.")
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="Folder for pictures.")
@click.option("--seconds", type=click.FloatRange(0.001, 60), default=0.05, show_default=True, help="Of each point.")
def study(
    tiers: tuple[str, ...], vectors: Path | None, recall: float, out: Path | None, plots: Path | None, seconds: float
) -> None:
    """Measure a graph against clusters on this machine's tiers, over size of vectors, latency and queries under way."""
    from ..advisor import study as studied

    if plots is not None and find_spec("matplotlib") is None:
        raise click.ClickException("pictures need matplotlib: pip install 'fairlead-tiered-retrieval[plots]'")
    shape = _shape(vectors)
    with ExitStack() as stack:
        try:
            regions = _regions(tiers, stack)
        except TieredRetrievalError as error:
            raise click.ClickException(str(error)) from error
        found = studied.study(regions, shape, recall=recall, seconds=seconds, told=_told)
    for words in (*studied.table(found, studied.IN_FLIGHT[-1]), *studied.turning_points(found)):
        click.echo(words)
    if out is not None:
        out.write_text(json.dumps({"recall": recall, "points": studied.as_json(found)}, indent=1) + "\n")
    if plots is not None:
        from ..advisor.study_plot import draw_rates, draw_ratios

        draw_ratios(found, plots / "graph-or-clusters.png")
        draw_rates(found, 1024, plots / "rates-1024.png")


@click.command("advise")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), help="Vectors in all. Default: those of FILE.")
@click.option("--recall", type=click.FloatRange(0.5, 0.9999), default=0.95, show_default=True)
@click.option("--latency-us", type=click.FloatRange(0, min_open=True), help="Of a search alone.")
@click.option("--memory-mib", type=click.FloatRange(0, min_open=True), help="That the index may take.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Searches a second on a core.")
@click.option(
    "--tier",
    "tiers",
    multiple=True,
    metavar="KIND:LATENCY_US:READS_PER_S",
    help="A tier beside main memory; repeatable. Default: file:300:80000.",
)
@json_option
def advise_command(
    file: Path,
    count: int | None,
    recall: float,
    latency_us: float | None,
    memory_mib: float | None,
    rate: float | None,
    tiers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say which index, codes and tier suit the vectors of FILE (.npy, .fvecs, Parquet), and why."""
    target = Target(
        recall,
        latency_s=None if latency_us is None else latency_us * 1e-6,
        memory_bytes=None if memory_mib is None else int(memory_mib * 2**20),
        per_second=rate,
    )
    try:
        advice = advise(_shape(file, count), target, [Tier(), *map(_tier, tiers or ("file:300:80000",))])
    except NoPlan as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        best = advice.best
        print_json({"kind": best.kind, "bits": best.bits, "tier": best.tier.kind, "reasons": list(advice.reasons)})
        return
    for sentence in advice.reasons:
        click.echo(sentence)


def _told(what: str) -> None:
    click.echo(what, err=True)


def _shape(file: Path | None, count: int | None = None) -> Shape:
    if file is None:
        return Shape(count or 1_000_000, 384, 1536)
    from ..advisor.sampling import look

    try:
        return look(read_queries(file), count)
    except (BadFile, TieredRetrievalError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _tier(text: str) -> Tier:
    kind, *numbers = text.split(":")
    try:
        latency_us, per_second = map(float, numbers)
        if min(latency_us, per_second) <= 0 or not kind:
            raise ValueError
    except ValueError:
        raise click.BadParameter(f"{text!r}: accepted: KIND:LATENCY_US:READS_PER_S, such as shm:2:5000000") from None
    coarse = kind == "file"
    return Tier(
        kind,
        latency_s=latency_us * 1e-6,
        reads_per_s=per_second,
        processor_s=2e-6 if coarse else 1e-7,
        granule=4096 if coarse else 64,
    )


def _regions(urls: Sequence[str], stack: ExitStack) -> list[tuple[str, Region]]:
    from ..advisor.local_tiers import local_tiers
    from ..advisor.study import fill
    from ..tiers.urls import open_region

    named = {url: url for url in urls}
    if not urls:
        named = {"main memory": "dram:", **stack.enter_context(local_tiers(REGION_BYTES, delays_us=DELAYS_US))}
    regions: list[tuple[str, Region]] = []
    for name, url in named.items():
        try:
            region = stack.enter_context(open_region(url, None if urls else REGION_BYTES))
        except TieredRetrievalError as error:
            if urls:
                raise
            click.echo(f"left out: {name}: {error}", err=True)
            continue
        if not urls:
            fill(region)
        regions.append((name, region))
    return regions
