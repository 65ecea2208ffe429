"""``fairlead get``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.output import Column, bytes_text, console, json_option, print_json, styled, table
from fairlead_agent.graph.display import plain_name, show

KINDS = ("workloads", "nodes", "placements", "leases")


@click.command()
@click.argument("kind", type=click.Choice(KINDS), default="workloads")
@click.argument("name", required=False)
@json_option
@with_client
def get(kind: str, name: str | None, as_json: bool, client: ApiClient) -> None:
    """Show workloads, nodes, placements or leases; NAME picks one."""
    found: list[dict[str, Any]] = client.get(f"/api/v1/{kind}")
    if name is not None:
        found = _named(kind, name, found)
    if as_json:
        print_json(found)
    elif not found:
        click.echo(f"There are no {kind}.{' See `fairlead apply --help`.' if kind != 'nodes' else ''}")
    elif kind == "workloads":
        console().print(workload_table(found, client.get("/api/v1/placements")))
    else:
        console().print(TABLES[kind](found))


def _named(kind: str, name: str, found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    known = {_name(item) for item in found}
    if name not in known:
        there = f"there are {', '.join(sorted(known))}" if known else "there is none"
        raise CliError(f"no {kind[:-1]} {name!r}; {there}")
    return [item for item in found if _name(item) == name]


def _name(item: Mapping[str, Any]) -> str:
    return item.get("name") or item.get("workload") or item["status"]["node"]


def workload_table(workloads: Iterable[dict[str, Any]], records: Iterable[dict[str, Any]]) -> Any:
    """One row a replica: where it runs, in which variant, and why.

    Args:
        workloads: views of the API.
        records: the stewards' decisions; they say why.
    """
    by_workload = {record["workload"]: record for record in records}
    rows: list[tuple[Any, ...]] = []
    for workload in workloads:
        reports = {(report["key"]["replica"], report["epoch"]): report for report in workload["instances"]}
        bids = by_workload.get(workload["name"], {}).get("bids", ())
        slots, told = workload["slots"], workload.get("told", {})
        rows.extend(_slot_row(workload["name"], slot, reports, bids, told) for slot in slots)
        if not slots:
            why = "no replica is wanted" if workload["workload"]["replicas"] == 0 else "no steward has taken it up yet"
            rows.append((workload["name"], None, styled("pending"), *[None] * 5, why))
    columns = ("workload", "replica", "state", "node", Column("variant", 2), Column("epoch", 5), Column("memory", 3))
    if not any(row[-2] for row in rows):
        rows = [(*row[:-2], row[-1]) for row in rows]
        return table("Workloads", (*columns, Column("why", 1, wraps=True)), rows)
    return table("Workloads", (*columns, Column("measured", 1, wraps=True), Column("why", 4, wraps=True)), rows)


def _slot_row(
    name: str,
    slot: Mapping[str, Any],
    reports: Mapping[Any, Any],
    bids: Iterable[Any],
    told: Mapping[str, Mapping[str, float]],
) -> tuple[Any, ...]:
    replica, epoch = slot["key"]["replica"], slot["epoch"]
    report: Mapping[str, Any] = reports.get((replica, epoch), {})
    state: str = report["state"] if slot["state"] == "placed" and report else slot["state"]
    why = report.get("reason") or _why(slot, bids)
    measured = _told(told.get(str(replica), {})) if slot["state"] == "placed" else None
    return name, replica, styled(state), slot["node"], slot["variant"], epoch or None, _memory(report), measured, why


def _told(values: Mapping[str, float]) -> str | None:
    """What the plugin says of its instance: names without their unit, which the number has."""
    shown = [f"{plain_name(name)} {show(name, value)}" for name, value in values.items()]
    return ", ".join(shown) or None


def _memory(report: Mapping[str, Any]) -> str | None:
    if not report.get("memory_bytes"):
        return None
    limit = report.get("limit_bytes")
    return bytes_text(report["memory_bytes"]) + (f" of {bytes_text(limit)}" if limit else "")


def _why(slot: Mapping[str, Any], bids: Iterable[Mapping[str, Any]]) -> str:
    """Of a placed replica what its bid promised; of any other what it waits for."""
    if slot["state"] == "placed":
        for bid in bids:
            if bid["outcome"] == "won" and (bid["node"], bid["variant"]) == (slot["node"], slot["variant"]):
                return bid["reason"].removeprefix(f"replica {slot['key']['replica']}: ")
    return slot["reason"]


def node_table(nodes: Iterable[dict[str, Any]]) -> Any:
    """One row a node."""
    rows = [_node_row(node) for node in nodes]
    columns = ("node", "state", Column("profile", 2), "memory free", Column("cores free", 1), "instances")
    rest = (Column("plugins", 4, wraps=True), Column("incarnation", 3))
    return table("Nodes", (*columns, *rest), rows)


def _node_row(node: Mapping[str, Any]) -> tuple[Any, ...]:
    status, facts = node["status"], node.get("facts", {}).values()
    memory = [part for part in facts if part.get("tier") == "dram"]
    cores = [part for part in facts if part.get("cores") is not None]
    plugins = ", ".join(f"{name} {version}" for name, version in status["plugins"].items())
    state = ("draining" if status.get("draining") else "online") if status["online"] else "offline"
    free = _of(memory, "free_bytes", "total_bytes", bytes_text)
    idle = _of(cores, "cores_free", "cores", "{:g}".format)
    return (
        status["node"],
        styled(state),
        status["profile"],
        free,
        idle,
        len(node["instances"]),
        plugins,
        status["incarnation"],
    )


def _of(parts: list[Mapping[str, Any]], free: str, total: str, show: Any) -> str | None:
    if not parts:
        return None
    return f"{show(sum(part.get(free, 0) for part in parts))} of {show(sum(part.get(total, 0) for part in parts))}"


def placement_table(records: Iterable[dict[str, Any]]) -> Any:
    """One row a decision."""
    rows = [
        (
            record["workload"],
            record["steward"],
            ", ".join(f"{slot['key']['replica']} {_where(slot)}" for slot in record["slots"]),
            len(record["bids"]),
            record["trigger"],
        )
        for record in records
    ]
    columns = (
        "workload",
        "steward",
        Column("replicas", wraps=True),
        "bids",
        Column("last negotiated because", 1, True),
    )
    return table("Placements", columns, rows)


def _where(slot: Mapping[str, Any]) -> str:
    return f"on {slot['node']}" if slot["state"] == "placed" else slot["state"]


def lease_table(leases: Iterable[dict[str, Any]]) -> Any:
    """One row a lease."""
    rows = [
        (
            lease["workload"],
            lease["replica"],
            lease["node"] or styled("released", "dim"),
            lease["epoch"],
            None if lease["node"] is None else f"{max(0.0, lease['remaining_s']):.1f} s",
        )
        for lease in leases
    ]
    return table("Leases", ("workload", "replica", "holder", "epoch", "expires in"), rows)


TABLES = {"nodes": node_table, "placements": placement_table, "leases": lease_table}
