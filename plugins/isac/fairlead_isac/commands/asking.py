"""`fairlead isac request`, `cancel` and `control`."""

from __future__ import annotations

import json
from typing import Any

import click

from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.output import Column, console, json_option, print_json, styled, table

from .connection import Service, with_service


@click.command()
@click.option("--class", "number", type=click.IntRange(1, 7), help="Of 3GPP TS 22.137.")
@click.option("--strict", is_flag=True, help="The tightest bounds where the class gives ranges.")
@click.option("--need", "needs", multiple=True, metavar="NAME=VALUE", help="Explicit, e.g. horizontal_m=2.")
@click.option("--target", help="One of the workload's targets.")
@click.option("--range", "range_m", type=click.FloatRange(0, min_open=True), help="Farthest range in m, else.")
@click.option(
    "--angle",
    type=click.FloatRange(-180, 180),
    default=0.0,
    show_default=True,
    help="Degrees from broadside; with sites, from the x axis at x = y = 0.",
)
@click.option("--speed", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, help="Fastest, m/s.")
@click.option("--rcs", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="Smallest, m^2.")
@click.option("--cells", type=click.Choice(["best", "all", "here"]), help="Of several cells. Default: best.")
@click.option("--duration", type=click.FloatRange(0, min_open=True), help="Seconds. Default: until it is cancelled.")
@json_option
@with_service
def request(
    number: int | None,
    strict: bool,
    needs: tuple[str, ...],
    target: str | None,
    range_m: float | None,
    angle: float,
    speed: float,
    rcs: float,
    cells: str | None,
    duration: float | None,
    as_json: bool,
    service: Service,
) -> None:
    """Ask for sensing. The answer says which requirements can be met, and why not the others (exit status 1)."""
    body: dict[str, Any] = {"class": number, "strict": strict, "needs": _pairs(needs), "duration_s": duration}
    if target is None and range_m is not None:
        body["area"] = {"range_m": range_m, "angle_degrees": angle, "speed_m_per_s": speed, "rcs_m2": rcs}
    body |= {"target": target, "cells": cells}
    body = {name: value for name, value in body.items() if value not in (None, {})}
    found = service.call("POST", "/sensing/requests", body, accepted=(201, 409))
    if as_json:
        print_json(found)
    else:
        console().print(requirement_table(found))
        click.echo(_answer(found))
    if not found["met"]:
        raise SystemExit(1)


@click.command()
@click.argument("name", metavar="ID")
@with_service
def cancel(name: str, service: Service) -> None:
    """End the sensing request ID."""
    found = service.call("DELETE", f"/sensing/requests/{name}")
    click.echo(f"{name}: {found['state']} ({found['reason']}), {found['estimates']} estimates")


@click.command()
@click.argument("settings", nargs=-1, required=True, metavar="NAME=VALUE...")
@with_service
def control(settings: tuple[str, ...], service: Service) -> None:
    """Set what may be set while it runs: sensing_share_maximum=0.3, stage=converged, weights.NAME=2."""
    body: dict[str, Any] = {}
    for name, value in _pairs(settings).items():
        if name.startswith("weights."):
            body.setdefault("weights", {})[name.removeprefix("weights.")] = value
        else:
            body[name] = value
    print_json(service.call("POST", "/control", body)["control"])


def requirement_table(found: dict[str, Any]) -> Any:
    """One row a requirement."""
    rows = [
        (
            each["requirement"],
            f"{each['asked']:.4g}",
            "-" if each["offered"] is None else f"{each['offered']:.4g}",
            styled("yes", "green") if each["met"] else styled("no", "red"),
            each["reason"],
        )
        for each in found["requirements"]
    ]
    columns = ("requirement", "asked", "offered", "met", Column("why not", wraps=True))
    return table(f"{found['id']}: {found['state']}", columns, rows)


def _answer(found: dict[str, Any]) -> str:
    looks, chosen = found["looks"], found.get("chosen")
    if looks is None:
        return f"{found['id']} is refused." + (f" {chosen}" if chosen else "")
    joined = "".join(f" {cell} senses it, too ({name})." for cell, name in found.get("with", {}).items())
    return (f"{chosen}.{joined}\n" if chosen else "") + (
        f"{found['id']}: {looks['symbols']} looks each {looks['refresh_s']:g} s, {looks['air_share']:.1%} of air time. "
        f"See `fairlead isac watch {found['id']}`."
    )


def _pairs(texts: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise CliError(f"{text!r}: accepted: NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
