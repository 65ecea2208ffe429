"""The command `fairlead sparse plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..reporting import Report, clear_errors, format_option, json_option, plots_option, table, write_json


class _Size(click.ParamType):
    """Bytes, written as 400MiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from .sizes import parse_bytes

        try:
            return parse_bytes(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("plan")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--profile", type=click.Path(path_type=Path), required=True, help="Of `profile`.")
@click.option(
    "--memory", type=_Size(), required=True, help="The budget, e.g. 400MiB: everything that the engine keeps."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The JSON to write.")
@click.option("--predictors", type=click.Path(path_type=Path), help="Of `train-predictor`: plan predictor mode.")
@click.option("--bits", type=click.Choice(["4", "8"]), default="4", show_default=True, help="Of the bundle's neurons.")
@click.option("--resident-bits", type=click.Choice(["4", "8"]), help="Of all other matrices; default: --bits.")
@click.option("--context", type=click.IntRange(min=1), help="Tokens of keys and values; default: the model's.")
@click.option(
    "--disk", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Where the bundle will lie."
)
@click.option("--disk-reads-per-s", type=click.FloatRange(min=1), help="Instead of measuring --disk.")
@click.option("--disk-bandwidth", type=_Size(), help="Bytes a second in sequence, e.g. 1GB; instead of measuring.")
@click.option(
    "--memory-bandwidth", type=_Size(), help="Bytes a second, e.g. 39GB, or of the fast device; instead of measuring."
)
@click.option("--sync-us", type=click.FloatRange(min=0), default=0.0, show_default=True, help="To hand a layer over.")
@plots_option
@format_option
@json_option
@clear_errors
def plan(
    model: Path,
    profile: Path,
    memory: int,
    out: Path,
    predictors: Path | None,
    bits: str,
    resident_bits: str | None,
    context: int | None,
    disk: Path | None,
    disk_reads_per_s: float | None,
    disk_bandwidth: int | None,
    memory_bandwidth: int | None,
    sync_us: float,
    plots: Path | None,
    plot_format: str,
    as_json: bool,
) -> None:
    """Plan which neurons of MODEL are pinned, which are cached, and what speed that gives, under a memory budget.

    An integer program chooses the pinned ones (PowerInfer), the profile's own tokens say what a cache would do.
    """
    from fairlead_language_model.checkpoint import open_checkpoint

    from ...bundle import all_networks
    from ..conversion.convert import require_convertible
    from ..model import checkpoint_path
    from ..profile.file import read_profile, require_model
    from .planner import SPLITS, Conditions, make_plan
    from .sizes import model_bytes

    report = Report(as_json)
    source = checkpoint_path(model)
    config = open_checkpoint(source).config
    require_convertible(config, source)
    if config.experts is not None:
        raise ValueError(f"{source}: accepted: a model without experts, whose profile follows all networks by token")
    found = read_profile(profile)
    require_model(found, list(all_networks(config)), profile)
    parameters, overshoot = _predicted(predictors, config)
    tokens = min(context or config.max_position_embeddings, config.max_position_embeddings)
    sizes = model_bytes(config, int(bits), int(resident_bits or bits), tokens, parameters)
    given = (disk_reads_per_s, disk_bandwidth, memory_bandwidth)
    speeds = _speeds(report, disk or out.resolve().parent, sizes.layout.cluster_bytes, given)
    wanted = Conditions(memory, predictors is None, sync_us * 1e-6, overshoot)
    with report.progress("simulating", len(SPLITS)) as advance:
        content = make_plan(found, sizes, speeds, wanted, advance)
    write_json(out, content)
    report.say(f"written: {out}")
    drawn = report.plot(plots, lambda directory: _draw(content, directory, plot_format))
    shown = {name: value for name, value in content.items() if name != "layers"}
    report.result({**shown, "plan": str(out), "plots": drawn}, *_tables(content))


def _predicted(path: Path | None, config: Any) -> tuple[int, float]:
    """Return the predictors' weights, and how many neurons they predict for each that fires."""
    from ...bundle import all_networks
    from ..predictor.file import read_predictors

    if path is None:
        return 0, 1.0
    predictors, report = read_predictors(path, all_networks(config), config.hidden_size)
    layers = report.get("layers", [])
    gates = sum(layer["gates"] for layer in layers)
    overshoot = sum(layer["predicted"] for layer in layers) / gates if gates else 1.0
    return sum(predictor.parameters for predictor in predictors.values()), overshoot


def _speeds(
    report: Report, directory: Path, read_bytes: int, given: tuple[float | None, int | None, int | None]
) -> Any:
    from .speeds import Speeds, measure, memory_bandwidth

    reads, sequential, memory = given
    if reads is not None and sequential is not None:
        bandwidth = memory_bandwidth() if memory is None else memory
        return Speeds(float(bandwidth), reads, float(sequential), read_bytes, True)
    if reads is not None or sequential is not None:
        raise ValueError("--disk-reads-per-s, --disk-bandwidth: accepted: both or neither")
    report.say(f"measuring memory and the disk of {directory}")
    found = measure(directory, read_bytes)
    bandwidth = found.memory_bytes_per_s if memory is None else float(memory)
    if not found.direct:
        report.say(f"{directory}: reads went through the page cache (no O_DIRECT): the disk is slower than measured")
    return Speeds(bandwidth, found.disk_reads_per_s, found.disk_bytes_per_s, read_bytes, found.direct)


def _draw(content: dict[str, Any], directory: Path, form: str) -> list[Path]:
    from .plots import draw

    return draw(content, directory, form)


def _tables(content: dict[str, Any]) -> list[Any]:
    speeds = content["speeds"]
    facts = [
        ["budget", f"{content['budget_bytes']} bytes"],
        ["fixed", f"{content['fixed_bytes']} bytes"],
        ["for neurons", f"{content['cache_bytes']} of {content['neurons_bytes']} bytes"],
        ["memory", f"{speeds['memory_bytes_per_s'] / 1e9:.1f} GB/s"],
        ["disk", f"{speeds['disk_reads_per_s']:.0f} reads of {speeds['read_bytes']} bytes a second"],
        ["prefetched behind attention", f"{content['prefetch_bytes']} bytes a layer"],
        ["solver", content["solver"]],
        ["reason", content["reason"]],
    ]
    rows = [
        [
            f"{item['pinned_share']:.0%}"
            + (" <" if item["pinned_share"] == content["predicted"]["pinned_share"] else ""),
            str(item["cache_slots"]),
            f"{item['clusters_a_token']:.1f}",
            f"{item['reads_a_token']:.1f}",
            f"{item['hit_rate']:.1%}",
            f"{item['tokens_per_s']:.0f}",
        ]
        for item in content["candidates"]
    ]
    headings = ["pinned", "cache slots", "clusters a token", "read", "hits", "tokens/s"]
    return [
        table(f"{content['model']}: {content['mode']} mode", ["what", "value"], facts),
        table("splits", headings, rows),
    ]
