"""`fairlead plugins`: list, validate, new. rich is imported only where a table is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

_STYLE = {"error": "red", "warning": "yellow", "ok": "green"}


@click.group()
def plugins() -> None:
    """List, validate and start plugins."""


@plugins.command("list")
@click.option("--path", "paths", multiple=True, type=click.Path(path_type=Path), help="Look in this folder too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_plugins(paths: tuple[Path, ...], as_json: bool) -> None:
    """Show the plugins that an agent of this environment would find, and what is wrong with the rest."""
    from fairlead_agent.plugin.discovery import discover

    found = discover(paths)
    if as_json:
        click.echo(json.dumps([_record(item) for item in found], indent=2))
        return
    good = [item for item in found if item.manifest is not None and item.error is None]
    rows = [
        (item.name, item.manifest.version, item.manifest.quality, _variants(item.manifest), item.manifest.summary)
        for item in good
        if item.manifest is not None
    ]
    _table(("plugin", "version", "quality", "variants", "what it does"), rows)
    for item in found:
        if item.error is not None:
            click.secho(f"{item.source}: {item.error}", fg="red")
    if not found:
        click.echo("no plugins; see docs/plugins.md, or pip install fairlead-sparse-inference")


@plugins.command("validate")
@click.argument("plugin", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate(plugin: tuple[str, ...], as_json: bool) -> None:
    """Check plugins: folders, or names of installed ones. Exit status 1 where one does not fit."""
    from fairlead_agent.plugin.validation import validate_plugin

    findings = {where: validate_plugin(where) for where in plugin}
    broken = any(finding.level == "error" for found in findings.values() for finding in found)
    if as_json:
        click.echo(
            json.dumps({where: [item._asdict() for item in found] for where, found in findings.items()}, indent=2)
        )
    else:
        for where, found in findings.items():
            click.echo(f"{where}:")
            for finding in found:
                level = click.style(f"{finding.level:<8}", fg=_STYLE[finding.level])
                click.echo(f"  {level} {finding.check:<9} {finding.message}")
    if broken:
        raise SystemExit(1)


@plugins.command("new")
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(), help="Where to put it; default: here.")
def new(name: str, folder: Path) -> None:
    """Start a plugin from the template."""
    from fairlead_agent.plugin.new import new_plugin

    try:
        root = new_plugin(name, folder)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{root}: a plugin that works. Check it with: fairlead plugins validate {root}")


def _record(found: Any) -> dict[str, Any]:
    manifest = found.manifest
    return {
        "name": found.name,
        "source": found.source,
        "distribution": found.distribution,
        "folder": str(found.folder) if found.folder else None,
        "error": found.error,
        "manifest": manifest.model_dump(mode="json") if manifest is not None else None,
    }


def _variants(manifest: Any) -> str:
    return ", ".join(variant.name for variant in manifest.variants)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    # Piped output is not wrapped: it is for grep.
    Console(width=None if sys.stdout.isatty() else 250).print(table, markup=False)
