"""Shaping of links: how long a change takes, and how near the rate of real traffic comes to what was asked for.

Run as root: ``python -m benchmarks.shaping``. Peer: the same change by a process of iproute2's ``tc``, and for links
that are emulated the bare wire. Rates count whole frames, as the kernel's shapers do.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.options import Options, parse, quantile
from benchmarks.results_file import Row, not_measured, row
from benchmarks.shaped_wire import FRAME_BYTES, LEFT, RIGHT, Wire, received_bits_per_s, round_trips_s, wire
from fairlead_bridge.emulator.conditions import Conditions
from fairlead_bridge.emulator.emulator import End, LinkEmulator
from fairlead_bridge.emulator.trace import RateTrace
from fairlead_bridge.network_namespace import NetworkNamespace
from fairlead_bridge.shaping.apply import Shaper
from fairlead_bridge.shaping.errors import ShapingError
from fairlead_bridge.shaping.match import Match
from fairlead_bridge.shaping.objects import class_handles
from fairlead_bridge.shaping.plan import ClassTree, ShapingPlan, TokenBucket, TrafficClass

CHANGE = "Shaping change p50 < 1 ms"
RATE = "applied rate within 5 % of the asked one, measured with real traffic between namespaces"
CLASSES = 8
RATES_MBIT = (1.0, 10.0, 40.0, 100.0, 300.0)
PACKET_BYTES = FRAME_BYTES - 14
VIDEO_PORT = 5001
#: Of a rate: what the sender must bring without a shaper, or it is the sender that is measured.
ENOUGH = 1.5


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write results/shaping.json."""
    options = parse("shaping", __doc__, repeats=3, quick=1, arguments=arguments)
    conditions = {
        "peer": subprocess.run(["tc", "-V"], capture_output=True, text=True, check=False).stdout.strip(),
        "links": f"a veth pair between two network namespaces; datagrams of {FRAME_BYTES} bytes with their headers",
        "changes": _changes(options),
        "seconds_of_traffic": _seconds(options),
    }
    options.finish(conditions, list(measured(options)))
    return 0


def _changes(options: Options) -> int:
    return 100 if options.quick else 3000


def _seconds(options: Options) -> float:
    return 0.3 if options.quick else 3.0


def measured(options: Options) -> Iterator[Row]:
    """All rows; where namespaces or a shaper are missing, rows that say so."""
    try:
        with ExitStack() as stack:
            over = stack.enter_context(wire())
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
            yield from changes(over, folder, options)
            yield from rates(over, folder, options)
        yield from emulated(options)
    except (OSError, ShapingError, ImportError) as error:
        yield not_measured("a shaped link", "p50 of a change", "ms", CHANGE, str(error))
        yield not_measured("a shaped link", "deviation of the rate", "%", RATE, str(error))


def plan(rates_mbit: list[float]) -> ShapingPlan:
    """Classes with these rates on a link of 1 Gbit/s."""
    classes = tuple(
        TrafficClass(f"c{number}", rate * 1e6, matches=(Match(source_port=6000 + number, transport="udp"),))
        for number, rate in enumerate(rates_mbit)
    )
    return ShapingPlan("left", ClassTree(1e9, classes, "c0"))


def changes(over: Wire, folder: str, options: Options) -> Iterator[Row]:
    """A class's rate changed as a transaction, and by a process of tc, in turn."""
    draw = random.Random(options.seed)
    rates_mbit = [10.0] * CLASSES
    with over.left.entered(), Shaper(f"{folder}/changes") as shaper:
        built = [timed(lambda: shaper.apply(plan(rates_mbit)))]
        for _ in range(4):
            shaper.clear("left")
            built.append(timed(lambda: shaper.apply(plan(rates_mbit))))
        ours: list[float] = []
        peers: list[float] = []
        for number in range(_changes(options)):
            rates_mbit[draw.randrange(CLASSES)] = draw.uniform(1, 100)
            wanted = plan(rates_mbit)
            ours.append(timed(lambda wanted=wanted: shaper.apply(wanted)))
            if number % 10 == 0:
                peers.append(timed(lambda: by_tc(draw.uniform(1, 100))))
        note = f"p99 {quantile(ours, 0.99):.3g} ms; with lock, journal and commit; peer: a process of tc"
        yield row(
            f"{CLASSES} classes on a link",
            "p50 of a changed rate",
            "ms",
            [statistics.median(ours)],
            [statistics.median(peers)],
            limit=1.0,
            promise=CHANGE,
            note=note,
        )
        yield row(f"{CLASSES} classes on a link", "p50 of a whole new plan", "ms", [statistics.median(built)])
        shaper.clear("left")


def by_tc(rate_mbit: float) -> None:
    """Change one class of a plan by a process, as scripts do."""
    tree = plan([1.0] * CLASSES).egress
    assert isinstance(tree, ClassTree)
    handle = class_handles(tree)["c1"]
    words = ["tc", "class", "change", "dev", "left", "parent", "fa10:1", "classid", f"fa10:{handle & 0xFFFF:x}"]
    subprocess.run([*words, "htb", "rate", f"{int(rate_mbit * 1e6)}bit", "ceil", "1gbit"], check=True)


def rates(over: Wire, folder: str, options: Options) -> Iterator[Row]:
    """What real traffic reaches with each kind of shaper, both ways."""
    carried = min(received_bits_per_s(over, 1.0) for _ in range(options.repeats))
    yield row("bare wire, nothing shaped", "carried", "Mbit/s", [carried / 1e6], better="more")
    for mbit in RATES_MBIT:
        rate = mbit * 1e6
        if carried < ENOUGH * rate:
            why = f"the sender brought {carried / 1e6:.4g} Mbit/s over the bare wire: too busy a machine to tell"
            yield not_measured(f"{mbit:g} Mbit/s", "deviation of the rate", "%", RATE, why)
            continue
        video = TrafficClass("video", rate, rate, matches=(Match(source_port=VIDEO_PORT, transport="udp"),))
        tree = ClassTree(1e9, (video, TrafficClass("rest", 1e6)), "rest")
        cases = (
            ("a class of HTB, on the way out", "left", ShapingPlan("left", tree), VIDEO_PORT),
            ("TBF, on the way out", "left", ShapingPlan("left", TokenBucket(rate)), 0),
            ("TBF behind an IFB, on the way in", "right", ShapingPlan("right", ingress=TokenBucket(rate)), 0),
        )
        for case, side, wanted, port in cases:
            namespace = over.left if side == "left" else over.right
            with namespace.entered(), Shaper(f"{folder}/{side}") as shaper:
                shaper.apply(wanted)
                found = [received_bits_per_s(over, _seconds(options), source_port=port) for _ in range(options.repeats)]
                shaper.clear(side)
            yield deviation(f"{case}, {mbit:g} Mbit/s", found, rate)


def emulated(options: Options) -> Iterator[Row]:
    """The emulated link: its rate, what it adds to a delay, and how much it can carry."""
    for mbit in (1.0, 10.0, 40.0):
        found = [through(Conditions(RateTrace.constant(mbit * 1e6)), _seconds(options)) for _ in range(options.repeats)]
        yield deviation(f"emulated link, {mbit:g} Mbit/s", found, mbit * 1e6)
    free = [through(Conditions(), _seconds(options)) / 1e6 for _ in range(options.repeats)]
    yield row("emulated link without a rate", "carried", "Mbit/s", free, better="more")
    count = max(20, _changes(options) // 10)
    with wire() as bare:
        least = statistics.median(round_trips_s(bare, count))
    for delay_s in (0.0, 0.02):
        with emulated_link(Conditions(delay_s=delay_s), realtime=True) as over:
            trips = [trip - 2 * delay_s for trip in round_trips_s(over, count)]
        note = (
            f"p99 {quantile(trips, 0.99) * 1e3:.3g} ms; there and back, the asked delay taken off; peer: the bare wire"
        )
        extra = [statistics.median(trips) * 1e3]
        yield row(f"emulated delay of {delay_s * 1e3:g} ms", "added to it", "ms", extra, [least * 1e3], note=note)


@contextmanager
def emulated_link(conditions: Conditions, *, realtime: bool = False) -> Iterator[Wire]:
    """An emulated link in the place of the wire."""
    with ExitStack() as stack:
        left, right = (stack.enter_context(NetworkNamespace.new()) for _ in range(2))
        ends = End("left", f"{LEFT}/24", left), End("right", f"{RIGHT}/24", right)
        stack.enter_context(LinkEmulator(*ends, conditions, realtime=realtime))
        yield Wire(left, right)


def through(conditions: Conditions, seconds: float) -> float:
    """Bits a second that arrive over an emulated link; it counts IP packets, without Ethernet's header."""
    with emulated_link(conditions) as over:
        return received_bits_per_s(over, seconds, frame_bytes=PACKET_BYTES)


def deviation(case: str, found_bits_per_s: list[float], asked_bits_per_s: float) -> Row:
    """How far the worst of some measurements is from what was asked for."""
    percents = [(found / asked_bits_per_s - 1) * 100 for found in found_bits_per_s]
    worst = max(percents, key=abs)
    note = f"measured {', '.join(f'{found / 1e6:.4g}' for found in found_bits_per_s)} Mbit/s; the worst deviation"
    return row(case, "deviation of the rate", "%", [abs(worst)], limit=5.0, promise=RATE, note=note)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that a call takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    sys.exit(main())
