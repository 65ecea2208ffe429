from __future__ import annotations

import ipaddress
import json
import struct
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_bridge.shaping.difference import Step, diff
from fairlead_bridge.shaping.errors import PlanError
from fairlead_bridge.shaping.journal import plan_from_mapping, plan_to_mapping
from fairlead_bridge.shaping.match import ETHERTYPE_IPV4, Match
from fairlead_bridge.shaping.objects import HtbClass, KernelObject, class_handles, objects_of
from fairlead_bridge.shaping.plan import ClassTree, ShapingPlan, TokenBucket, TrafficClass
from tests.firmware_bridge.shaping.plans import matches, plans

WEB = TrafficClass("web", 4e6, matches=(Match(destination_port=443, transport="tcp"),))
REST = TrafficClass("rest", 2e6)
TREE = ClassTree(10e6, (WEB, REST), "rest")
PLAN = ShapingPlan("eth0", TREE, TokenBucket(5e6))


def carried_out(objects: tuple[KernelObject, ...], steps: tuple[Step, ...]) -> set[KernelObject]:
    """A kernel of sets: nothing is made twice or below what is not there, nothing is removed from under another."""
    there = {item.key: item for item in objects}
    for step in steps:
        if step.before is not None:
            assert there.pop(step.before.key) == step.before
            in_use = any(item.parent_key == step.before.key for item in there.values())
            assert step.after is not None or not in_use, f"{step} would remove others with it"
        if step.after is not None:
            assert step.after.key not in there
            made_before = step.after.parent_key
            assert made_before is None or made_before in there or made_before == ("device", "eth0")
            there[step.after.key] = step.after
    return set(there.values())


@settings(derandomize=True, max_examples=40, deadline=None)
@given(plans, plans)
def test_steps_lead_from_one_plan_to_the_other_and_their_inverses_back(old: ShapingPlan, new: ShapingPlan) -> None:
    before, after = objects_of(old), objects_of(new)
    steps = diff(old, new)
    assert carried_out(before, steps) == set(after)
    assert carried_out(after, tuple(step.inverse for step in reversed(steps))) == set(before)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(plans)
def test_the_same_plan_is_no_step_and_a_plan_is_its_own_json(plan: ShapingPlan) -> None:
    plan.validate()
    assert diff(plan, plan) == ()
    assert plan_from_mapping(json.loads(json.dumps(plan_to_mapping(plan)))) == plan


def test_a_changed_rate_is_one_change_of_a_class() -> None:
    faster = replace(TREE, classes=(replace(WEB, rate_bits_per_s=6e6), REST))
    (step,) = diff(PLAN, replace(PLAN, egress=faster))
    assert isinstance(step.before, HtbClass) and isinstance(step.after, HtbClass)
    assert (step.before.rate_bytes_per_s, step.after.rate_bytes_per_s) == (500_000, 750_000)


def test_a_class_keeps_its_handle_whatever_its_neighbours_do() -> None:
    more = replace(TREE, classes=(TrafficClass("early", 1e6), WEB, REST))
    assert class_handles(more)["web"] == class_handles(TREE)["web"]
    assert not [step for step in diff(PLAN, replace(PLAN, egress=more)) if isinstance(step.before, HtbClass)]


def packet(match: Match, family: int, transport: int, options: int = 0, fragment: int = 0) -> bytes:
    """What the match describes, from the network header on; unstated fields are zero."""
    ports = struct.pack("!HHHH", match.source_port or 0, match.destination_port or 0, 8, 0)
    zero = ipaddress.ip_address("0.0.0.0" if family == 4 else "::")
    source, destination = (
        (ipaddress.ip_network(text, strict=False)[0] if text else zero).packed
        for text in (match.source, match.destination)
    )
    dscp = (match.dscp or 0) << 2
    if family == 6:
        return struct.pack("!IHBB", 6 << 28 | dscp << 20, 8, transport, 64) + source + destination + ports
    head = struct.pack("!BBHHHBBH", 0x45 + options, dscp, 28, 7, fragment, 64, transport, 0)
    return head + source + destination + bytes(4 * options) + ports


NUMBERS = {(None, 4): 6, (None, 6): 6, ("icmp", 4): 1, ("icmp", 6): 58}


@settings(derandomize=True, max_examples=50, deadline=None)
@given(matches(), st.data())
def test_a_match_selects_its_packets_and_no_other(match: Match, data: st.DataObject) -> None:
    match.validate("match")
    family = data.draw(st.sampled_from(match.families()))
    number = NUMBERS.get((match.transport, family), 17 if match.transport == "udp" else 6)

    def selected(sent: bytes) -> bool:
        keys = [one.keys for one in match.selectors() if (one.ethertype == ETHERTYPE_IPV4) == (family == 4)]
        return any(all(key.matches(sent) for key in some) for some in keys)

    assert selected(packet(match, family, number))
    if match.transport is not None or match.has_port:
        assert not selected(packet(match, family, 132))
    for name in ("source_port", "destination_port", "dscp"):
        value = getattr(match, name)
        if value is not None:
            assert not selected(packet(replace(match, **{name: value ^ 1}), family, number))
    if match.has_port and family == 4:
        assert not selected(packet(match, family, number, options=1))
        assert not selected(packet(match, family, number, fragment=5))


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (replace(PLAN, link="a/b"), "link: 'a/b'; accepted: a link's name"),
        (replace(PLAN, egress=TokenBucket(float("nan"))), "egress.rate_bits_per_s: nan; accepted: 8000 to"),
        (replace(PLAN, egress=TokenBucket(-1)), "egress.rate_bits_per_s: -1"),
        (replace(PLAN, egress=replace(TREE, default="x")), "egress.default: 'x'; accepted: one of the classes: web"),
        (replace(PLAN, egress=replace(TREE, classes=())), "egress.default: 'rest'; accepted: one of the classes: none"),
        (replace(PLAN, egress=replace(TREE, classes=(REST, REST))), r"classes\[1\].name: 'rest'"),
        (replace(PLAN, egress=replace(TREE, rate_bits_per_s=5e6)), "rates that sum up to 5e"),
        (replace(PLAN, ingress=TokenBucket(5e6, burst_bytes=10)), "ingress.burst_bytes: 10; accepted: an integer in"),
        (
            replace(PLAN, egress=replace(TREE, classes=(REST, replace(WEB, ceil_bits_per_s=1e6)))),
            r"egress.classes\[1\].ceil_bits_per_s: 1000000.0; accepted: 4e\+06 to 1e\+07 bit/s",
        ),
        (
            replace(PLAN, egress=replace(TREE, classes=(REST, replace(WEB, matches=(Match(dscp=64),))))),
            r"egress.classes\[1\].matches\[0\].dscp: 64; accepted: an integer in 0..63",
        ),
        (
            replace(PLAN, egress=replace(TREE, classes=(REST, replace(WEB, matches=(Match("10.0.0.0/8", "::/0"),))))),
            "destination: '::/0'; accepted: a network of the family of 10.0.0.0/8",
        ),
    ],
)
def test_a_wrong_plan_names_field_value_and_what_is_accepted(plan: ShapingPlan, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        plan.validate()


def test_unknown_fields_of_a_mapping_are_named() -> None:
    mapping = plan_to_mapping(PLAN)
    mapping["egress"]["classes"][0]["speed"] = 7
    with pytest.raises(PlanError, match=r"egress.classes\[0\].speed: 7; accepted: one of name, rate_bits_per_s"):
        plan_from_mapping(mapping)
    with pytest.raises(PlanError, match="egress: 5; accepted: a mapping"):
        plan_from_mapping({"link": "eth0", "egress": 5})


def test_what_an_idle_agent_does_not_need_is_not_imported() -> None:
    steps = [
        ("fairlead_bridge.inventory", ["pyroute2", "numpy", "fairlead_bridge.shaping", "fairlead_bridge.radio"]),
        ("fairlead_bridge.radio.wifi", ["pyroute2", "numpy", "fairlead_bridge.shaping"]),
        ("fairlead_bridge.shaping.statistics", ["pyroute2", "numpy", "fairlead_bridge.shaping.plan"]),
        ("fairlead_bridge.shaping.apply", ["pyroute2", "numpy"]),
        ("fairlead_bridge.radio.soapy", ["pyroute2", "numpy"]),
    ]
    code = (
        "import importlib, sys\n"
        f"for module, absent in {steps!r}:\n"
        "    importlib.import_module(module)\n"
        "    print(module, [name for name in absent if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [f"{module} []" for module, _ in steps]
