"""Random plans, all of them valid."""

from __future__ import annotations

from hypothesis import strategies as st

from fairlead_bridge.shaping.match import Match
from fairlead_bridge.shaping.plan import ClassTree, Policer, ShapingPlan, TokenBucket, TrafficClass

ports = st.none() | st.integers(0, 65535)
networks = st.sampled_from(["192.0.2.0/24", "192.0.2.7", "10.0.0.0/8", "2001:db8::/33", "2001:db8::1"])


@st.composite
def matches(draw: st.DrawFn) -> Match:
    source, destination = draw(st.none() | networks), draw(st.none() | networks)
    if source and destination and (":" in source) != (":" in destination):
        destination = None
    source_port, destination_port = draw(ports), draw(ports)
    transport = draw(st.sampled_from([None, "tcp", "udp"]))
    if (source_port, destination_port, transport) == (None, None, None):
        transport = draw(st.sampled_from(["icmp", "udp"]))
    return Match(source, destination, transport, source_port, destination_port, draw(st.none() | st.integers(0, 63)))


@st.composite
def trees(draw: st.DrawFn) -> ClassTree:
    names = draw(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=4, unique=True))
    rate = draw(st.integers(1, 50)) * 1e6
    classes = tuple(
        TrafficClass(
            name,
            rate,
            priority=draw(st.integers(0, 7)),
            queue_packets=draw(st.sampled_from([10, 500])),
            matches=tuple(draw(st.lists(matches(), max_size=2))),
        )
        for name in names
    )
    return ClassTree(rate * len(names), classes, draw(st.sampled_from(names)))


buckets = st.builds(TokenBucket, st.integers(1, 100).map(lambda megabits: megabits * 1e6))
policers = st.builds(Policer, st.integers(1, 100).map(lambda megabits: megabits * 1e6))
plans = st.builds(
    ShapingPlan,
    st.just("eth0"),
    st.none() | trees() | buckets,
    st.none() | trees() | buckets | policers,
)
