"""Plans on real links between network namespaces; skipped without the privilege to make them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fairlead_bridge.shaping.apply import Shaper
from fairlead_bridge.shaping.difference import Step, diff
from fairlead_bridge.shaping.errors import ApplyError, ShapingError
from fairlead_bridge.shaping.kernel import Kernel
from fairlead_bridge.shaping.match import Match
from fairlead_bridge.shaping.plan import ClassTree, Policer, ShapingPlan, TokenBucket, TrafficClass
from tests.firmware_bridge.wires import Wire, a_wire, carries, flood, tc

pytestmark = pytest.mark.skipif(shutil.which("tc") is None, reason="tc shows what is in force, and is not installed")

BURST_BYTES = 5000

#: Of the rate: what a test asks for at least, however busy the machine is. The benchmark holds the rate to 5 %.
LEAST = 0.4


@pytest.fixture
def wire() -> Iterator[Wire]:
    with a_wire() as made:
        yield made


@pytest.fixture
def shaper(wire: Wire, tmp_path: Path) -> Iterator[Shaper]:
    with wire.left.entered(), Shaper(str(tmp_path / "state")) as made:
        try:
            made.apply(tree(10e6))
        except ApplyError as error:
            pytest.skip(f"this kernel cannot shape: {error}")
        made.clear("left")
        yield made


def tree(rate: float, ingress: TokenBucket | Policer | None = None) -> ShapingPlan:
    matches = (Match(source_port=5001, transport="udp"),)
    classes = (
        TrafficClass("video", rate, ceil_bits_per_s=rate, burst_bytes=BURST_BYTES, matches=matches),
        TrafficClass("rest", 4e6, ceil_bits_per_s=4e6, burst_bytes=BURST_BYTES),
    )
    return ShapingPlan("left", ClassTree(40e6, classes, "rest"), ingress)


def in_force() -> str:
    """All shaping of this namespace and all its links, as tc and ip show them, without what they count."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, timeout=60, check=True).stdout
    of_left = (
        ("class", "show", "dev", "left"),
        ("filter", "show", "dev", "left"),
        ("filter", "show", "dev", "left", "ingress"),
    )
    text = "\n".join([links, tc("qdisc", "show"), *(tc(*command) for command in of_left)])
    return re.sub(r"direct_packets_stat \d+ |\tindex \d+ ", "", text)


def test_each_class_has_its_rate(wire: Wire, shaper: Shaper) -> None:
    shaper.apply(tree(12e6))
    assert carries(lambda: flood(wire, 0.4, source_port=5001), 12e6, BURST_BYTES, LEAST)
    assert carries(lambda: flood(wire, 0.4, port=5005), 4e6, BURST_BYTES, LEAST)


def test_a_changed_rate_changes_one_class_and_the_traffic(wire: Wire, shaper: Shaper) -> None:
    shaper.apply(tree(12e6))
    done = shaper.apply(tree(6e6))
    assert [str(step).split(" (")[0].split()[:2] for step in done.steps] == [["change", "class"]]
    assert carries(lambda: flood(wire, 0.4, source_port=5001), 6e6, BURST_BYTES, LEAST)


def test_a_changed_class_is_as_a_new_one(shaper: Shaper) -> None:
    for rate in (30e6, 7.3e6, 20e6):
        shaper.apply(tree(rate))
    changed = in_force()
    shaper.clear("left")
    shaper.apply(tree(20e6))
    assert in_force() == changed


def test_a_bucket_on_the_way_out_and_one_on_the_way_in(wire: Wire, shaper: Shaper, tmp_path: Path) -> None:
    shaper.apply(ShapingPlan("left", TokenBucket(10e6, burst_bytes=BURST_BYTES)))
    assert carries(lambda: flood(wire, 0.4), 10e6, BURST_BYTES, LEAST)
    shaper.clear("left")
    with wire.right.entered(), Shaper(str(tmp_path / "right")) as other:
        other.apply(ShapingPlan("right", ingress=TokenBucket(8e6, burst_bytes=BURST_BYTES, queue_bytes=20_000)))
        assert carries(lambda: flood(wire, 0.4), 8e6, BURST_BYTES, LEAST)
        other.clear("right")
    assert any(not flood(wire, 0.2).within(8e6, BURST_BYTES) for _ in range(20))


def test_clearing_leaves_nothing(shaper: Shaper) -> None:
    before = in_force()
    shaper.apply(tree(20e6, TokenBucket(5e6)))
    assert in_force() != before
    shaper.clear("left")
    assert in_force() == before
    assert shaper.plan("left") is None


@pytest.mark.parametrize("ingress", [None, TokenBucket(5e6)])
def test_a_plan_that_fails_half_way_changes_nothing(shaper: Shaper, ingress: TokenBucket | None) -> None:
    shaper.apply(tree(20e6, ingress))
    before = in_force()
    with pytest.raises(ApplyError, match=r"undone"):
        shaper.apply(unfit(shaper))
    assert in_force() == before
    assert shaper.plan("left") == tree(20e6, ingress)
    shaper.apply(tree(21e6, ingress))


def unfit(shaper: Shaper) -> ShapingPlan:
    """A plan that this kernel refuses at its last step."""
    plan = ShapingPlan("left", TokenBucket(5e6), Policer(5e6))
    last = diff(shaper.plan("left"), plan)[-1]
    real = shaper._kernel.do  # pyright: ignore[reportPrivateUsage]

    def do(step: Step) -> None:
        if step == last:
            raise OSError(12, "Cannot allocate memory")
        real(step)

    shaper._kernel.do = do  # pyright: ignore
    return plan


def test_what_the_kernel_lacks_is_refused_and_named(shaper: Shaper) -> None:
    before = in_force()
    try:
        shaper.apply(ShapingPlan("left", TokenBucket(5e6), Policer(5e6)))
    except ApplyError as error:
        assert "add filter 1 of ffff: on left" in str(error)
        assert in_force() == before
    else:
        assert "police" in in_force()


class Dying(Kernel):
    """Kills its process before it does step number ``left``."""

    left = 0

    def do(self, step: Step) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        super().do(step)


def in_a_child(work: Callable[[], None]) -> None:
    """Run ``work`` in a forked process, and wait until it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_process_killed_between_steps_is_made_good_by_the_next(shaper: Shaper, tmp_path: Path) -> None:
    old, new = tree(20e6), ShapingPlan("left", TokenBucket(5e6), TokenBucket(6e6))
    shaper.apply(old)
    before = in_force()

    def die_at(number: int) -> None:
        kernel = Dying()
        with Shaper(str(tmp_path / "state"), kernel) as dying:
            kernel.left = number
            dying.apply(new)

    for number in range(0, len(diff(old, new)), 2):
        in_a_child(lambda number=number: die_at(number))
        with Shaper(str(tmp_path / "state")) as heir:
            assert [item.plan for item in heir.recovered] == [old]
            assert in_force() == before, f"killed before step {number}"
            assert heir.plan("left") == old


def test_a_link_shaped_by_others_is_left_alone(shaper: Shaper) -> None:
    tc("qdisc", "add", "dev", "left", "root", "handle", "7:", "htb")
    before = in_force()
    with pytest.raises(ApplyError, match=r"shaped by others: htb 7:;"):
        shaper.apply(tree(20e6))
    assert in_force() == before


def test_a_step_that_cannot_be_undone_costs_a_rebuild_and_not_the_plan(shaper: Shaper) -> None:
    shaper.apply(tree(20e6))
    before = in_force()
    plan = unfit(shaper)
    undo = shaper._kernel.undo  # pyright: ignore[reportPrivateUsage]
    refused: list[Step] = []

    def once(step: Step) -> None:
        if not refused and step.after is None:
            refused.append(step)
            raise OSError(16, "Device or resource busy")
        undo(step)

    shaper._kernel.undo = once  # pyright: ignore
    with pytest.raises(ApplyError, match="Cannot allocate memory"):
        shaper.apply(plan)
    assert refused and in_force() == before
    assert shaper.plan("left") == tree(20e6)


def test_a_plan_that_cannot_be_written_down_is_not_in_force(shaper: Shaper, monkeypatch: pytest.MonkeyPatch) -> None:
    shaper.apply(tree(20e6))
    before = in_force()

    replace = os.replace

    def full(source: str, target: str) -> None:
        if target.endswith(".plan.json"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("fairlead_bridge.shaping.journal.os.replace", full)
        with pytest.raises(ApplyError, match="writing down the new plan: No space left on device; 1 steps"):
            shaper.apply(tree(10e6))
    assert in_force() == before
    assert shaper.plan("left") == tree(20e6)


def test_shaping_of_ours_without_a_plan_is_named(shaper: Shaper, tmp_path: Path) -> None:
    shaper.apply(tree(20e6))
    with Shaper(str(tmp_path / "another")) as stranger:
        with pytest.raises(ApplyError, match=r"htb fa10:, made by us, but no plan is kept"):
            stranger.apply(tree(10e6))


def test_what_others_removed_is_made_again(shaper: Shaper, tmp_path: Path) -> None:
    shaper.apply(tree(20e6))
    before = in_force()
    tc("qdisc", "del", "dev", "left", "root")
    with Shaper(str(tmp_path / "state")) as other:
        other.apply(tree(20e6))
    assert in_force() == before


def test_a_link_that_is_not_there(shaper: Shaper) -> None:
    with pytest.raises(ShapingError, match="there is no link nowhere"):
        shaper.apply(ShapingPlan("nowhere", TokenBucket(5e6)))
