"""``python -m fairlead_bridge.emulator --trace FILE``: a link between two TUN devices, until it is told to stop.

Prints a line of JSON when the link is there, and one with what passed when it ends (SIGINT, SIGTERM, --seconds).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace

from fairlead_bridge.emulator.conditions import Conditions, ConditionsError
from fairlead_bridge.emulator.emulator import End, LinkEmulator
from fairlead_bridge.emulator.trace import RateTrace, TraceError
from fairlead_bridge.form import to_json
from fairlead_bridge.network_namespace import NetworkNamespace


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        forward, backward = _conditions(options)
        with ExitStack() as stack:
            left, right = (_end(options, side, stack) for side in ("left", "right"))
            how = {"seed": options.seed, "mtu_bytes": options.mtu, "realtime": options.realtime}
            emulator = stack.enter_context(LinkEmulator(left, right, forward, backward, **how))
            print(json.dumps({"left": emulator.left.name, "right": emulator.right.name}), flush=True)
            stop.wait(options.seconds)
            print(json.dumps(to_json(emulator.close())), flush=True)
    except (TraceError, ConditionsError) as error:
        parser.error(str(error))
    except OSError as error:
        print(f"{parser.prog}: {error.strerror or error} (errno {error.errno})", file=sys.stderr)
        return 1
    return 0


def _conditions(options: argparse.Namespace) -> tuple[Conditions, Conditions]:
    rate = _rate(options.trace, options.rate_mbit)
    forward = Conditions(
        rate,
        options.delay_ms / 1e3,
        options.jitter_ms / 1e3,
        options.loss,
        options.loss_burst,
        options.reordering,
        options.queue_bytes,
    )
    back = _rate(options.trace_back, options.rate_back_mbit) if options.trace_back or options.rate_back_mbit else rate
    return forward, replace(forward, rate=back)


def _rate(path: str | None, mbit: float | None) -> RateTrace | None:
    if path is not None:
        return RateTrace.read(path)
    return None if mbit is None else RateTrace.constant(mbit * 1e6)


def _end(options: argparse.Namespace, side: str, stack: ExitStack) -> End:
    reference = getattr(options, side)
    namespace = None if reference is None else stack.enter_context(NetworkNamespace.named(reference))
    return End(f"{options.name}-{side[0]}", getattr(options, f"{side}_address"), namespace)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m fairlead_bridge.emulator", description=__doc__)
    add = parser.add_argument
    add("--trace", metavar="FILE", help="rate from left to right: two columns, seconds and Mbit/s; repeated")
    add("--trace-back", metavar="FILE", help="the same from right to left (default: as --trace)")
    add("--rate-mbit", type=float, metavar="MBIT", help="a constant rate in the place of a trace")
    add("--rate-back-mbit", type=float, metavar="MBIT", help="the same from right to left")
    add("--delay-ms", type=float, default=0.0, help="each way (default 0)")
    add("--jitter-ms", type=float, default=0.0, help="standard deviation of the delay (default 0)")
    add("--loss", type=float, default=0.0, help="share of packets that is lost (default 0)")
    add("--loss-burst", type=float, help="packets lost in a row, in the mean (default: each by itself)")
    add("--reordering", type=float, default=0.0, help="share of packets that skips the delay (default 0)")
    add("--queue-bytes", type=int, default=256 * 1024, help="what may wait for the rate (default 256 KiB)")
    add("--left", metavar="NAMESPACE", help="network namespace by name, process or path (default: this one)")
    add("--right", metavar="NAMESPACE", help="the same for the right end")
    add("--left-address", default="10.77.0.1/30", help="address of the left device (default %(default)s)")
    add("--right-address", default="10.77.0.2/30", help="address of the right device (default %(default)s)")
    add("--name", default="emulated", help="names the devices NAME-l and NAME-r (default %(default)s)")
    add("--mtu", type=int, default=1500, help="bytes of a packet at the most (default 1500)")
    add("--seed", type=int, default=0, help="of jitter, loss and reordering (default 0)")
    add("--realtime", action="store_true", help="go before other processes, where permitted (SCHED_FIFO)")
    add("--seconds", type=float, help="stop after so long (default: at a signal)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
