"""``fairlead graph``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.output import console, json_option, print_json, styled
from fairlead_agent.graph import Measured, show_measured

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

Data = Mapping[str, Any]

KIND_STYLES = {"node": "bold", "instance": "green", "link": "cyan", "caches": "blue"}
#: Said by the place in the tree already.
SAID = ("workload", "replica", "tier", "profile")


@click.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--age", "with_age", is_flag=True, help="Show how old each measurement is.")
@json_option
@with_client
def graph(nodes: tuple[str, ...], with_age: bool, as_json: bool, client: ApiClient) -> None:
    """Show the resource graph as a tree: nodes, their parts, what runs there, and their links.

    What a profile only pretends to have is marked "simulated".
    """
    elements = _only(nodes, client.get("/api/v1/graph"))
    if as_json:
        print_json(elements)
        return
    screen = console()
    for tree in trees(elements, with_age=with_age):
        screen.print(tree)
    if not elements["nodes"]:
        click.echo("The graph is empty: no node has said what it has.")


def _only(wanted: tuple[str, ...], elements: dict[str, Any]) -> dict[str, Any]:
    """The elements of some nodes; all where none is named."""
    known = {vertex["data"]["id"] for vertex in elements["nodes"] if vertex["data"]["kind"] == "node"}
    for name in wanted:
        if name not in known:
            raise CliError(f"no node {name!r} in the graph; there are {', '.join(sorted(known)) or 'none'}")
    if not wanted:
        return elements
    vertices = [vertex for vertex in elements["nodes"] if vertex["data"]["node"] in wanted]
    kept = {vertex["data"]["id"] for vertex in vertices}
    edges = [edge for edge in elements["edges"] if edge["data"]["source"] in kept]
    return {"nodes": vertices, "edges": edges}


def trees(elements: Mapping[str, Any], *, with_age: bool = False, now: float | None = None) -> list[Tree]:
    """One tree a node, made of cytoscape elements.

    Args:
        elements: ``{"nodes": [{"data"}], "edges": [{"data"}]}``.
        with_age: whether to say how old measurements are.
        now: Unix seconds; default: the clock.
    """
    import time

    moment = (time.time() if now is None else now) if with_age else None
    vertices: list[Data] = [vertex["data"] for vertex in elements["nodes"]]
    known = {vertex["id"] for vertex in vertices}
    below: dict[str | None, list[Data]] = {}
    for vertex in vertices:
        parent = vertex.get("parent")
        below.setdefault(parent if parent in known else None, []).append(vertex)
    ends: dict[str, list[Data]] = {}
    for edge in elements["edges"]:
        if edge["data"]["kind"] in ("link", "caches"):
            ends.setdefault(edge["data"]["source"], []).append(edge["data"])
    return [_branch(vertex, below, ends, moment) for vertex in below.get(None, ())]


def _branch(vertex: Data, below: Mapping[Any, list[Data]], ends: Mapping[str, list[Data]], now: float | None) -> Tree:
    from rich.tree import Tree

    tree = Tree(_line(_vertex_name(vertex), vertex, now), guide_style="dim")
    for part in below.get(vertex["id"], ()):
        tree.children.append(_branch(part, below, ends, now))
    for edge in ends.get(vertex["id"], ()):
        verb = "link to" if edge["kind"] == "link" else "keeps"
        tree.add(_line(f"{verb} {edge['target']}", edge, now))
    return tree


def _vertex_name(vertex: Data) -> str:
    properties = vertex["properties"]
    if vertex["kind"] == "node":
        return f"{vertex['id']} ({properties['profile']})" if properties.get("profile") else str(vertex["id"])
    if vertex["kind"] == "instance":
        return f"{properties.get('workload', '?')} replica {properties.get('replica', '?')}"
    return str(vertex["label"])


def _line(name: str, data: Data, now: float | None) -> Text:
    from rich.text import Text

    line = Text.assemble((name, KIND_STYLES.get(data["kind"], "")))
    if data["simulated"]:
        line.append_text(styled("  simulated", "yellow"))
    details = ", ".join(_details(data, now))
    if details:
        line.append(f"  {details}", style="dim")
    return line


def _details(data: Data, now: float | None) -> Iterable[str]:
    for name, value in data["properties"].items():
        if name not in SAID:
            yield f"{_words(name)} {value}" if name not in ("architecture", "model", "state", "variant") else str(value)
    measured = {name: Measured(**value) for name, value in data["measured"].items()}
    total = next((name for name in ("total_bytes", "cores", "limit_bytes") if name in measured), "")
    part = {"total_bytes": "free_bytes", "cores": "cores_free", "limit_bytes": "memory_bytes"}.get(total, "")
    if total and part in measured:
        verb = "used" if part == "memory_bytes" else "free"
        unit = " cores" if total == "cores" else ""
        yield f"{_shown(part, measured.pop(part), now)} of {show_measured(total, measured.pop(total))}{unit} {verb}"
    for name, value in measured.items():
        yield f"{_words(name)} {_shown(name, value, now)}"


def _shown(name: str, measured: Measured, now: float | None) -> str:
    if name == "charging":
        return "yes" if measured.value else "no"
    if name in ("charge", "load", "memory_pressure"):
        text = f"{measured.value * 100:.0f} %"
    else:
        text = show_measured(name, measured)
    return text if now is None else f"{text} ({max(0.0, now - measured.measured_at):.0f} s old)"


def _words(name: str) -> str:
    """An attribute's name without its unit, which the value shows."""
    if name.startswith("label."):
        return f"{name[6:]}:"
    for unit in ("_bytes_per_s", "_bits_per_s", "_flops_per_s", "_bytes", "_watts", "_celsius", "_hz", "_per_s", "_s"):
        if name.endswith(unit):
            name = name.removesuffix(unit) + (" power" if unit == "_watts" else "")
            break
    return name.replace("_", " ")
