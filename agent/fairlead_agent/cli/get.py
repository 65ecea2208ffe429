"""``fairlead get``."""

from __future__ import annotations

from typing import Any

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.output import bytes_text, console, json_option, print_json, styled, table

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
        found = [item for item in found if _name(item) == name]
        if not found:
            raise CliError(f"no {kind[:-1]} {name!r}")
    if as_json:
        print_json(found)
    else:
        console().print(TABLES[kind](found))


NO_SLOT: dict[str, Any] = {}


def _name(item: dict[str, Any]) -> str:
    return item.get("name") or item.get("workload") or item["status"]["node"]


def workload_table(workloads: list[dict[str, Any]]) -> Any:
    """One row a replica: where it runs, in which variant, and why."""
    rows: list[tuple[Any, ...]] = []
    for workload in workloads:
        by_key = {(report["key"]["replica"], report["epoch"]): report for report in workload["instances"]}
        rows.extend(_slot_row(workload, slot, by_key) for slot in workload["slots"] or [NO_SLOT])
    columns = ("workload", "replica", "state", "node", "variant", "epoch", "memory", "reason")
    return table("Workloads", columns, rows)


def _slot_row(workload: dict[str, Any], slot: dict[str, Any], by_key: dict[Any, Any]) -> tuple[Any, ...]:
    if not slot:
        return workload["name"], None, styled("pending"), None, None, None, None, "no steward has taken it up yet"
    replica, epoch = slot["key"]["replica"], slot["epoch"]
    report = by_key.get((replica, epoch), {})
    state = report.get("state") if slot["state"] == "placed" and report else slot["state"]
    memory = (
        f"{bytes_text(report['memory_bytes'])} of {bytes_text(report.get('limit_bytes'))}"
        if report.get("memory_bytes")
        else None
    )
    return (
        workload["name"],
        replica,
        styled(state),
        slot["node"],
        slot["variant"],
        epoch or None,
        memory,
        report.get("reason") or slot["reason"],
    )


def node_table(nodes: list[dict[str, Any]]) -> Any:
    """One row a node."""
    rows = [
        (
            node["status"]["node"],
            styled("online" if node["status"]["online"] else "offline"),
            node["status"]["profile"],
            node["status"]["incarnation"],
            ", ".join(f"{key} {value}" for key, value in node["status"]["plugins"].items()),
            len(node["instances"]),
        )
        for node in nodes
    ]
    return table("Nodes", ("node", "state", "profile", "incarnation", "plugins", "instances"), rows)


def placement_table(records: list[dict[str, Any]]) -> Any:
    """One row a decision."""
    rows = [
        (
            record["workload"],
            record["steward"],
            record["trigger"],
            ", ".join(f"{slot['key']['replica']}: {slot['node'] or slot['state']}" for slot in record["slots"]),
        )
        for record in records
    ]
    return table("Placements", ("workload", "steward", "trigger", "replicas"), rows)


def lease_table(leases: list[dict[str, Any]]) -> Any:
    """One row a lease."""
    rows = [
        (lease["workload"], lease["replica"], lease["epoch"], lease["node"], f"{lease['remaining_s']:.1f} s")
        for lease in leases
    ]
    return table("Leases", ("workload", "replica", "epoch", "holder", "free again in"), rows)


TABLES = {"workloads": workload_table, "nodes": node_table, "placements": placement_table, "leases": lease_table}
