"""What a node tells of its instances, and what their plugins do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fairlead_agent.config import AgentProfile
from fairlead_agent.daemon.graph_view import GraphView
from fairlead_agent.daemon.readings import Readings
from fairlead_agent.daemon.sensor import Sensor
from fairlead_agent.graph import VertexKind, instance_id
from fairlead_agent.messages import InstanceReport, InstanceState, LeaseKey
from fairlead_agent.placement.resources import Resources
from tests.agent.daemon.devices import READINGS

INSTANCE = instance_id("edge", "chat", 0)


def told_by(view: GraphView, profile: AgentProfile | None = None) -> Sensor:
    """A sensor whose updates go straight into a view."""
    topics = SimpleNamespace(delta=lambda node: "delta", graph=lambda node: "graph")
    bus: Any = SimpleNamespace(node="edge", incarnation=1, topics=topics)
    outgoing: Any = SimpleNamespace(post_to=lambda topic, update, retain=False: view.merge(update))
    reader: Any = SimpleNamespace(read=lambda: Readings(**READINGS))
    return Sensor(bus, outgoing, profile or AgentProfile(name="box"), reader, Resources, 5.0)


def report(epoch: int = 3, **fields: Any) -> InstanceReport:
    key = LeaseKey(site="home", workload="chat", replica=0)
    return InstanceReport(key=key, epoch=epoch, variant="any", state=InstanceState.READY, **fields)


def test_what_a_plugin_told_of_its_instance_stays_beside_what_the_agent_measures() -> None:
    view = GraphView()
    sensor = told_by(view)
    sensor.fact(INSTANCE, "goodput_per_s", 2.0, 0.0)
    assert view.told(INSTANCE) == {}, "an instance that nobody reported"
    sensor.instances((report(),))
    sensor.fact(INSTANCE, "goodput_per_s", 3.0, 0.0)
    sensor.instances((report(memory_bytes=1 << 30),))
    assert view.told(INSTANCE) == {"goodput_per_s": 3.0}
    assert view.facts("edge")[INSTANCE]["memory_bytes"] == 1 << 30


def test_of_an_instance_that_came_after_it_says_nothing() -> None:
    view = GraphView()
    sensor = told_by(view)
    sensor.instances((report(),))
    sensor.fact(INSTANCE, "goodput_per_s", 3.0, 0.0)
    sensor.instances((report(epoch=4),))
    assert view.told(INSTANCE) == {}


LINKED = AgentProfile.model_validate(
    {"name": "box", "simulated": {"links": [{"peer": "gateway", "bandwidth": "1 Gbit/s", "latency": "1 ms"}]}}
)
LINK = "edge>link>control-plane"


def bandwidth(view: GraphView) -> float:
    return view.graph.edges[LINK].measured["bandwidth_bits_per_s"].value


def test_what_an_instance_measured_of_a_link_ends_with_it() -> None:
    view = GraphView()
    sensor = told_by(view, LINKED)
    sensor.instances((report(),))
    assert bandwidth(view) == 1e9
    sensor.fact(LINK, "bandwidth_bits_per_s", 2e7, 0.0, source=INSTANCE)
    assert bandwidth(view) == 2e7 and sensor.facts(None).links[0].bandwidth_bits_per_s == 2e7
    sensor.instances((report(memory_bytes=1 << 30),))
    assert bandwidth(view) == 2e7
    for attribute, value in (("loss", 0.1), ("throughput_bits_per_s", 0.0), ("loss", 1.5), ("loss", -0.1)):
        sensor.fact(LINK, attribute, value, 0.0, source=INSTANCE)
    measured = view.graph.edges[LINK].measured
    assert (measured["loss"].value, measured["throughput_bits_per_s"].value) == (0.1, 0.0)
    sensor.instances(())
    assert "loss" not in view.graph.edges[LINK].measured
    assert bandwidth(view) == 1e9 and sensor.facts(None).links[0].bandwidth_bits_per_s == 1e9


def test_a_radio_that_an_instance_runs_is_a_part_of_the_node_until_the_instance_ends() -> None:
    view = GraphView()
    sensor = told_by(view)
    radio = "edge/radio-cell"
    sensor.fact(radio, "sensing_share", 0.3, 0.0, source=INSTANCE)
    assert radio not in view.graph.vertices, "an instance that nobody reported"
    sensor.instances((report(simulated=True),))
    sensor.fact(radio, "sensing_share", 0.3, 0.0, source=INSTANCE)
    vertex = view.graph.vertices[radio]
    assert (vertex.kind, vertex.measured["sensing_share"].value, vertex.simulated) == (VertexKind.RADIO, 0.3, True)
    assert f"edge>contains>{radio}" in view.graph.edges
    sensor.fact(radio, "sensing_share", 1.5, 0.0, source=INSTANCE)
    assert view.graph.vertices[radio].measured["sensing_share"].value == 0.3
    sensor.instances(())
    assert radio not in view.graph.vertices
