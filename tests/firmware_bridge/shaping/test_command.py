from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fairlead_bridge.shaping.__main__ import main
from fairlead_bridge.shaping.apply import Shaper
from fairlead_bridge.shaping.errors import ApplyError
from fairlead_bridge.shaping.journal import Journal, Transaction, plan_to_mapping
from fairlead_bridge.shaping.plan import ClassTree, ShapingPlan, TokenBucket, TrafficClass
from tests.firmware_bridge.wires import a_wire, tc

PLAN = ShapingPlan("left", ClassTree(8e6, (TrafficClass("a", 1e6), TrafficClass("b", 2e6)), "b"), TokenBucket(1e6))


def test_a_plan_is_shown_applied_and_cleared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(plan_to_mapping(PLAN)))
    common = ["--directory", str(tmp_path / "state")]
    with a_wire() as wire, wire.left.entered():
        assert main([*common, "apply", "--dry-run", str(tmp_path / "plan.json")]) == 0
        assert "add htb fa10: on left" in capsys.readouterr().out
        assert "htb" not in tc("qdisc", "show")
        assert main([*common, "apply", str(tmp_path / "plan.json")]) == 0
        assert "htb" in tc("qdisc", "show")
        assert main([*common, "apply", str(tmp_path / "plan.json")]) == 0
        assert capsys.readouterr().out.endswith("nothing to do\n")
        assert main([*common, "show"]) == 0
        shown = capsys.readouterr().out
        assert '"rate_bits_per_s": 8000000.0' in shown and "counters.sent_packets" in shown
        assert main([*common, "clear", "left"]) == 0
        assert "htb" not in tc("qdisc", "show")
        assert main([*common, "clear", "gone"]) == 1
        assert "there is no link gone" in capsys.readouterr().err


def test_a_wrong_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, words in (("{", "plan.json"), ('{"link": "eth0", "speed": 1}', "plan.speed: 1; accepted: one of link")):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(SystemExit) as ended:
            main(["apply", str(tmp_path / "plan.json")])
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


def test_a_garbled_state_is_named_and_not_guessed(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.begin("left", Transaction(7, None, PLAN))
    assert journal.interrupted("left") == Transaction(7, None, PLAN)
    (Path(journal.directory) / "left.journal.json").write_text('{"index": 7, "old"')
    with pytest.raises(ApplyError, match=r"left\.journal\.json: no transaction"):
        journal.interrupted("left")


def test_a_journal_of_a_link_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    with a_wire() as wire, wire.right.entered():
        Journal(str(tmp_path)).begin("left", Transaction(7, None, PLAN))
        with Shaper(str(tmp_path)) as shaper:
            assert [(item.link, item.plan) for item in shaper.recovered] == [("left", None)]
        assert Journal(str(tmp_path)).interrupted("left") is None


def test_namespaces_do_not_share_what_is_kept(tmp_path: Path) -> None:
    with a_wire() as wire:
        with wire.left.entered():
            Journal(str(tmp_path)).begin("left", Transaction(7, None, PLAN))
        with wire.right.entered(), Shaper(str(tmp_path)) as shaper:
            assert shaper.recovered == ()
        with wire.left.entered():
            assert Journal(str(tmp_path)).interrupted("left") is not None


async def test_inside_an_event_loop_it_says_to_use_a_thread(tmp_path: Path) -> None:
    pytest.importorskip("pyroute2")
    with pytest.raises(ApplyError, match=r"asyncio\.to_thread"):
        Shaper(str(tmp_path))
    shaper = await asyncio.to_thread(Shaper, str(tmp_path))
    with pytest.raises(ApplyError, match=r"asyncio\.to_thread"):
        shaper.clear("lo")
    await asyncio.to_thread(shaper.close)
