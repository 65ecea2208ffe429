"""Cells as agents over a transport that loses, doubles, delays and reorders."""

from __future__ import annotations

import json

import pytest

from fairlead_isac.collaboration.cell import CellParty, agree
from fairlead_isac.collaboration.leader import Leader
from fairlead_isac.collaboration.messages import Contribution, Question, Report, Settled, from_json, to_json
from fairlead_isac.errors import IsacError
from tests.plugins.isac.collaboration.networks import LossyTransport, agents, network


@pytest.mark.parametrize("seed", [1])
def test_three_agents_agree_on_what_one_process_does(seed: int) -> None:
    task, links = network(seed)
    transport = LossyTransport(seed)
    agents(transport, task, links)
    assert transport.run(6000) < 6000
    assert transport.lost > 50
    agreed = {name: agent.agreement for name, agent in transport.agents.items()}
    assert len({to_json(Settled(0, "", each)) for each in agreed.values()}) == 1
    here = agree(task, links)
    found = agreed["cell-1"]
    assert found is not None and found.serving == here.serving and found.left_out == ()
    assert found.utility == pytest.approx(here.utility, rel=1e-6)


def test_a_cell_that_falls_silent_is_left_out_after_a_bounded_time() -> None:
    task, links = network(0)
    transport = LossyTransport(1, loss=0.05)
    agents(transport, task, links, patience=20)
    for _ in range(40):
        transport.tick()
    began = transport.agents["cell-0"]._leader
    assert began is not None and began.round > 3, "it falls silent in the middle of the rounds"
    transport.dead.add("cell-2")
    assert transport.run(4000) < 4000
    found = transport.agents["cell-1"].agreement
    assert found is not None and found.left_out == ("cell-2",)
    assert "silent: cell-2" in str(found.fallback)
    assert set(found.serving.values()) <= {"cell-0", "cell-1"}
    assert found.utility == pytest.approx(agree(task, links[:2]).utility, rel=1e-2)


def test_the_next_cell_leads_when_the_leader_is_dead() -> None:
    task, links = network(0)
    transport = LossyTransport(2, loss=0.1)
    agents(transport, task, links, patience=16)
    transport.dead.add("cell-0")
    assert transport.run(4000) < 4000
    found = transport.agents["cell-2"].agreement
    assert found is not None and found.left_out == ("cell-0",)
    assert transport.agents["cell-1"].term == 1


def test_a_leader_that_comes_back_takes_the_agreement_of_the_higher_term() -> None:
    task, links = network(0)
    transport = LossyTransport(3, loss=0.0)
    agents(transport, task, links, patience=16)
    transport.dead.add("cell-0")
    transport.run(4000)
    transport.dead.clear()
    for _ in range(30):
        transport.tick()
    late, early = transport.agents["cell-0"], transport.agents["cell-1"]
    assert late.term == early.term == 1
    assert late.agreement == early.agreement


def test_messages_survive_json() -> None:
    task, links = network(3)
    settled = Settled(3, "cell-0", agree(task, links))
    question = Question(1, 2, "cell-0", "cell-1", [0.5, -1.0], [1e6], None)
    contribution = Contribution(1, 2, "cell-0", [0.5], {"user-0": 0.1}, 0.2, 1e6, 0.3)
    report = CellParty(task, links[0]).report(4)
    for message in (settled, question, contribution, report):
        assert from_json(to_json(message)) == message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[1]", "JSON object"),
        ("{", "JSON object"),
        ('{"kind": "order"}', "kind = 'order'"),
        ('{"kind": "report", "term": 0, "cell": "a", "information": {}}', "rate_bits_per_s"),
        ('{"kind": "report", "term": "0", "cell": "a", "rate_bits_per_s": {}, "information": {}}', "Report.term"),
        ('{"kind": "report", "term": 0, "cell": "a", "rate_bits_per_s": {"u": NaN}, "information": {}}', "NaN"),
        ('{"kind": "report", "term": 0, "cell": "a", "rate_bits_per_s": {"u": "x"}, "information": {}}', "rate_bits"),
    ],
)
def test_a_message_that_makes_no_sense_is_named(text: str, named: str) -> None:
    with pytest.raises(IsacError, match=named):
        from_json(text)


def test_an_agent_survives_messages_that_make_no_sense() -> None:
    task, links = network(0)
    transport = LossyTransport(0, loss=0.0)
    agents(transport, task, links)
    agent = transport.agents["cell-1"]
    agent.receive("nonsense")
    agent.receive(to_json(Question(0, 0, "cell-1", "cell-0", [1.0], [1.0], None)))
    assert agent.refused is not None and "coordinates" in agent.refused
    assert transport.run(2000) < 2000


def test_late_double_and_foreign_answers_change_nothing() -> None:
    task, links = network(0)
    parties = {each.name: CellParty(task, each) for each in links}
    leader = Leader(task, [party.report() for party in parties.values()])
    first = parties["cell-0"].answer(leader.question("cell-0"))
    assert not leader.receive(first) and not leader.receive(first)
    assert leader.waiting_for == ("cell-1", "cell-2")
    content = json.loads(to_json(first))
    for change in ({"round": 9}, {"term": 5}, {"cell": "elsewhere"}, {"value": [1.0]}):
        assert not leader.receive(from_json(json.dumps({**content, **change})))  # type: ignore[arg-type]
    assert leader.waiting_for == ("cell-1", "cell-2") and leader.round == 0


def test_all_silent_is_an_error_that_names_them() -> None:
    task, _ = network(0)
    leader = Leader(task, [Report(0, "only", {}, {})])
    with pytest.raises(IsacError, match="only"):
        leader.leave_out(["only"])
