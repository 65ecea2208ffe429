"""`fairlead isac watch`: how the cell stands, or the estimates of one request, live."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from fairlead_agent.cli.output import console, table
from fairlead_agent.graph.display import show

from .connection import Service, with_service


@click.command()
@click.argument("name", metavar="[ID]", required=False)
@click.option("--once", is_flag=True, help="Print how it stands, once.")
@click.option("--count", type=click.IntRange(1), help="End after so many estimates.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line an estimate.")
@with_service
def watch(name: str | None, once: bool, count: int | None, as_json: bool, service: Service) -> None:
    """Show rates, sensing and requests; or, with ID, the estimates of one request as they come."""
    if name is not None:
        _follow(service, name, 1 if once else count, as_json)
    elif as_json or once or not sys.stdout.isatty():
        found = _look(service)
        click.echo(json.dumps(found)) if as_json else console().print(_shown(found))
    else:
        _live(service)


def _follow(service: Service, name: str, count: int | None, as_json: bool) -> None:
    for number, (kind, body) in enumerate(service.events(f"/sensing/requests/{name}/estimates"), 1):
        if kind == "end":
            click.echo(f"{name}: {body['state']} ({body['reason']})", err=True)
            return
        click.echo(json.dumps(body) if as_json else estimate_line(body))
        if number == count:
            return


def estimate_line(body: dict[str, Any]) -> str:
    """An estimate in one line."""
    head = f"{time.strftime('%H:%M:%S', time.localtime(body['measured_unix_s']))} #{body['number']}"
    if body["problem"]:
        return f"{head}  no estimate: {body['problem']}"
    objects = "; ".join(_object(each) for each in body["detections"]) or "nothing found"
    late = "  (late)" if body["late"] else ""
    return f"{head}  {objects}  [{body['latency_s'] * 1e3:.0f} ms]{late}"


def _object(each: dict[str, Any]) -> str:
    spread = "" if each["range_std_m"] is None else f" ± {each['range_std_m']:.2g}"
    return (
        f"{each['range_m']:.2f}{spread} m, {each['velocity_m_per_s']:+.2f} m/s, {each['angle_degrees']:+.1f}°, "
        f"{each['snr_db']:.0f} dB"
    )


def _look(service: Service) -> dict[str, Any]:
    status = service.call("GET", "/status")
    return {**status, "served": service.call("GET", "/sensing/requests")["requests"]}


def _shown(found: dict[str, Any]) -> Any:
    from rich.console import Group

    users = ("user", "capacity", "free", "delay")
    requests = ("id", "class", "state", "air time", "estimates", "late", "why")
    return Group(
        _line(found),
        table("Users", users, [_user(name, each) for name, each in found["links"].items()]),
        table("Requests", requests, [_request(each) for each in found["served"]]),
    )


def _line(found: dict[str, Any]) -> str:
    radio, missed = found["radio"], found["decision_deadline_misses"] + found["estimate_deadline_misses"]
    why = f" ({radio['reason']})" if radio["reason"] else ""
    return (
        f"{found['cell']}: radio {radio['state']}{why}, {found['stage'] or 'no'} stage, "
        f"{found['sensing_share']:.1%} of the time senses alone, "
        f"decisions p99 {1e3 * (found['decision_p99_s'] or 0):.2f} ms, {missed:.0f} deadlines missed"
    )


def _user(name: str, each: dict[str, float]) -> tuple[str, ...]:
    rates = (show("x_bits_per_s", each[f"{which}_bits_per_s"]) for which in ("capacity", "free"))
    return (name, *rates, show("x_s", each["latency_s"]))


def _request(each: dict[str, Any]) -> tuple[Any, ...]:
    share = f"{each['looks']['air_share']:.1%}" if each["looks"] else None
    counts = (each["estimates"], each["late"])
    return (each["id"], each["class"], each["state"], share, *map(str, counts), each["reason"])


def _live(service: Service) -> None:
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        try:
            while True:
                live.update(_shown(_look(service)), refresh=True)
                time.sleep(1.0)
        except KeyboardInterrupt:
            return
