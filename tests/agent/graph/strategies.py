"""Random vertices, edges and updates of a small site, so that keys and sequence numbers collide often."""

from __future__ import annotations

from hypothesis import strategies as st

from fairlead_agent.graph import Edge, EdgeKind, Entry, Measured, ShardUpdate, Vertex, VertexKind, edge_key

NODES = ("edge", "phone", "server")
finite = st.floats(min_value=0, max_value=1e12, allow_nan=False)
measured = st.builds(Measured, finite, st.floats(1.7e9, 1.8e9), st.floats(0, 100))


@st.composite
def vertices(draw: st.DrawFn, node: str) -> Vertex:
    part = draw(st.sampled_from(("", "/dram", "/gpu0/vram", "/cpu0", "/instance/chat.0", "artifact")))
    simulated = draw(st.booleans())
    if part == "":
        return Vertex(
            node, VertexKind.NODE, {"power_watts": draw(measured)}, {"profile": draw(st.text("ab"))}, simulated
        )
    if part == "artifact":
        digest = draw(st.sampled_from(("sha256:aa", "sha256:bb")))
        return Vertex(f"artifact/{digest}", VertexKind.ARTIFACT, {"size_bytes": draw(measured)})
    if part == "/cpu0":
        return Vertex(node + part, VertexKind.PROCESSOR, {"cores_free": draw(measured)}, {}, simulated)
    if part.startswith("/instance"):
        return Vertex(node + part, VertexKind.INSTANCE, {}, {"workload": draw(st.sampled_from(("chat", "search")))})
    tier = "vram" if "vram" in part else "dram"
    return Vertex(node + part, VertexKind.MEMORY, {"free_bytes": draw(measured)}, {"tier": tier}, simulated)


@st.composite
def edges(draw: st.DrawFn, node: str) -> Edge:
    kind = draw(st.sampled_from((EdgeKind.LINK, EdgeKind.CACHES, EdgeKind.CONTAINS)))
    if kind is EdgeKind.LINK:
        target = draw(st.sampled_from([name for name in NODES if name != node]))
        quantities = {"bandwidth_bits_per_s": draw(measured), "latency_s": draw(measured)}
        return Edge(node, kind, target, quantities, {}, draw(st.booleans()))
    if kind is EdgeKind.CACHES:
        return Edge(node, kind, draw(st.sampled_from(("artifact/sha256:aa", "artifact/sha256:bb"))))
    return Edge(node, kind, f"{node}/dram")


def values(node: str) -> st.SearchStrategy[Vertex | Edge]:
    return st.one_of(vertices(node), edges(node))


@st.composite
def entries(draw: st.DrawFn, node: str) -> Entry:
    value = draw(values(node))
    gone = draw(st.sampled_from((False, False, False, True)))
    key = value.key if isinstance(value, Vertex) else edge_key(value.source, value.kind, value.target)
    return Entry(key, draw(st.integers(0, 6)), None if gone else value)


@st.composite
def updates(draw: st.DrawFn, nodes: tuple[str, ...] = NODES) -> ShardUpdate:
    """Any update at all: also of a writer that contradicts itself, repeats itself, or writes what is not its own."""
    node = draw(st.sampled_from(nodes))
    author = draw(st.sampled_from((node, node, node, NODES[0])))
    return ShardUpdate(
        node=node,
        incarnation=draw(st.integers(1, 3)),
        seq=draw(st.integers(0, 6)),
        full=draw(st.booleans()),
        entries=tuple(draw(st.lists(entries(author), max_size=6))),
    )
