"""The command `fairlead sparse convert`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..reporting import Report, clear_errors, json_option, table


@click.command("convert")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--bits", type=click.Choice(["4", "8"]), default="4", show_default=True, help="Of a neuron's weights.")
@click.option("--resident-bits", type=click.Choice(["4", "8"]), help="Of all other matrices; default: --bits.")
@click.option("--predictors", type=click.Path(path_type=Path), help="Of `train-predictor`; taken into the bundle.")
@click.option(
    "--profile", type=click.Path(path_type=Path), help="Of `profile`: neurons that fire together come together."
)
@click.option("--plan", type=click.Path(path_type=Path), help="Of `plan`: its pinned neurons come first, as hot ones.")
@click.option(
    "--hot-coverage",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Without --plan, the most frequent neurons that make up this share of all activations are hot.",
)
@click.option("--verify/--no-verify", default=True, show_default=True, help="Read everything back at the end.")
@json_option
@clear_errors
def convert(
    model: Path,
    out: Path,
    bits: str,
    resident_bits: str | None,
    predictors: Path | None,
    profile: Path | None,
    plan: Path | None,
    hot_coverage: float,
    verify: bool,
    as_json: bool,
) -> None:
    """Write MODEL (Hugging Face layout, GGUF, or a shipped model's name) as the bundle directory OUT.

    OUT must be new or empty. It appears when it is whole: a full disk or an interrupted run leaves nothing behind.
    """
    from fairlead_language_model.checkpoint import open_checkpoint
    from fairlead_language_model.graph import load_weights

    from ...bundle import BundleLayout, all_networks, verify_bundle, write_bundle
    from ..model import checkpoint_path
    from .convert import (
        Recipe,
        model_files,
        networks,
        predictor_tensors,
        require_convertible,
        resident_tensors,
    )

    report = Report(as_json)
    source = checkpoint_path(model)
    checkpoint = open_checkpoint(source)
    config = checkpoint.config
    require_convertible(config, source)
    weights = load_weights(checkpoint)
    orders, hot = _orders(config, profile, plan, hot_coverage)
    recipe = Recipe(int(bits), int(resident_bits or bits), orders, hot)
    resident = resident_tensors(weights, recipe.resident_bits)
    if predictors is not None:
        resident |= predictor_tensors(_read_predictors(predictors, config))

    def counted(advance: Any) -> Iterator[Any]:
        for rows in networks(config, weights, recipe):
            yield rows
            advance(rows.name)

    layout = BundleLayout.of(config.hidden_size, recipe.bits, 2 if config.ffn == "plain" else 3)
    with report.progress("packing", sum(1 for _ in all_networks(config))) as advance:
        files = model_files(source, config)
        manifest = write_bundle(out, counted(advance), resident, files, layout=layout)
    if verify:
        verify_bundle(out)
    content = _content(out, manifest, predictors is not None, verify)
    report.result(content, _table(content))


def _read_predictors(path: Path, config: Any) -> dict[str, Any]:
    from ...bundle import all_networks
    from ..predictor.file import read_predictors

    return read_predictors(path, all_networks(config), config.hidden_size)[0]


def _orders(
    config: Any, profile: Path | None, plan: Path | None, hot_coverage: float
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return order and hot count by network."""
    from ...bundle import all_networks
    from ..placement.file import read_plan
    from ..profile.file import read_profile, require_model
    from .convert import hot_first, hot_neurons

    if profile is None:
        if plan is not None:
            raise ValueError("--plan: accepted together with --profile, which orders the neurons")
        return {}, {}
    found, names = read_profile(profile), list(all_networks(config))
    require_model(found, names, profile)
    if plan is None:
        marked = hot_neurons(names, found.frequencies(), hot_coverage)
    elif config.experts is not None:
        raise ValueError("--plan: accepted for a model without experts")
    else:
        marked = read_plan(plan, config.num_hidden_layers, config.intermediate_size).pinned()
    orders = {
        str(name): hot_first(item.order, hot) for name, item, hot in zip(names, found.layers, marked, strict=True)
    }
    return orders, {str(name): int(hot.sum()) for name, hot in zip(names, marked, strict=True)}


def _content(out: Path, manifest: Any, has_predictors: bool, verified: bool) -> dict[str, Any]:
    sizes = {file.name: file.stat().st_size for file in sorted(out.iterdir())}
    return {
        "bundle": str(out),
        "bits": manifest.bits,
        "networks": len(manifest.networks),
        "neurons": sum(network.neurons for network in manifest.networks),
        "hot": sum(network.hot for network in manifest.networks),
        "cluster_neurons": manifest.cluster_neurons,
        "cluster_bytes": manifest.cluster_bytes,
        "predictors": has_predictors,
        "verified": verified,
        "files": sizes,
        "bytes": sum(sizes.values()),
    }


def _table(content: dict[str, Any]) -> Any:
    cluster = f"{content['cluster_neurons']} neurons in {content['cluster_bytes']} bytes"
    rows = [
        ["networks, neurons, hot", f"{content['networks']}, {content['neurons']}, {content['hot']}"],
        ["bits", str(content["bits"])],
        ["cluster", cluster],
        ["predictors", "yes" if content["predictors"] else "no"],
        *([name, f"{size} bytes"] for name, size in content["files"].items()),
        ["in all", f"{content['bytes']} bytes"],
        ["read back and verified", "yes" if content["verified"] else "no"],
    ]
    return table(content["bundle"], ["what", "value"], rows)
