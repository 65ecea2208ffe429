"""What an instance says of itself, and what it wants of others."""

from __future__ import annotations

from ..planning.cost_model import Chunk
from ..planning.drop_plan import Group
from .decision import Costs
from .forecast import ANSWERS, Growing, coming, expected_left
from .instance import Instance
from .plan import Phase, Report
from .space import GroupSpace

RESTS_BELOW = 0.25
"""Share of an instance's own pages. Below it, with nobody waiting, nothing calls for a plan, whatever is foreseen."""


def costs_of(it: Instance) -> Costs:
    """Return what actions cost on this fleet, as this instance knows it."""
    plan, settings = it.model.plan, it.settings
    allowed = frozenset({"drop", "compress"} if settings.drop else {"compress"})
    return Costs(
        page_bytes=plan.page_bytes,
        token_bytes=plan.token_bytes,
        link_bytes_per_s=settings.link_bytes_per_s,
        microbatches=2 * settings.microbatches,
        allowed=allowed,
    )


def look(it: Instance) -> None:
    """Take note of who came and how fast answers grow; at every poll, whether a report follows or not."""
    sequences, between = it.loop.sequences, it.loop.telemetry.between_tokens_s
    it.forecast.arrivals.see(it.clock(), ((one.arrived_s, len(one.request.prompt)) for one in sequences.values()))
    it.forecast.pace.see(between.total, between.count)


def rests(it: Instance) -> bool:
    """Return whether so little is held, and nothing asked for, that a poll has no news for whoever decides."""
    return not it.loop.scheduler.load[1] and _held(it) <= RESTS_BELOW * it.model.loaded.arena.own_capacity


def report_of(it: Instance, group: Group, *, settled: bool) -> Report:
    """Return a report, but for phase and epochs, which are the protocol's; after `look`."""
    scheduler, arena, local = it.loop.scheduler, it.model.loaded.arena, it.model.space
    stored = [scheduler.stored(name) for name in scheduler.running]
    ended, capacity = it.loop.telemetry.request_s, arena.capacity
    return Report(
        phase=Phase.SOLO,
        epoch=0,
        seen=0,
        group=group,
        settled=settled,
        fetched=0,
        held=_held(it),
        capacity=capacity,
        own_capacity=arena.own_capacity,
        queued=tuple(scheduler.demand().queued),
        coming=_coming(it),
        arriving=it.forecast.arrivals.per_second,
        alone=sum(local.needed(tokens + 1) for tokens in stored),
        running=len(stored),
        running_tokens=sum(stored),
        work_s=_work_s(it),
        residence_s=ended.total / ended.count if ended.count else 0.0,
    )


def _held(it: Instance) -> int:
    arena, tree = it.model.loaded.arena, it.model.space.tree
    return arena.capacity - arena.free - (tree.evictable if tree else 0)


def _coming(it: Instance) -> int:
    """Look ahead by what is known of this instance's own requests; see `forecast`."""
    scheduler, sequences, telemetry = it.loop.scheduler, it.loop.sequences, it.loop.telemetry
    arrivals, pace, answers = it.forecast.arrivals, it.forecast.pace, telemetry.answer_lengths
    mean = answers.total / answers.count if answers.count >= ANSWERS else None
    running = []
    for name in scheduler.running:
        one = sequences.get(name)
        if one is not None:
            prompt = len(one.request.prompt)
            left = expected_left(len(one.tokens) - prompt, one.limit - prompt, mean)
            running.append(Growing(len(one.tokens), left))
    needed = it.model.space.needed
    return coming(running, arrivals, pace.tokens_per_s, it.settings.ahead_s, needed, mean or 0.0)


def wanted_pages(it: Instance, space: GroupSpace) -> dict[str, int]:
    """Return the pages that this driver wants at each stage beyond those that it uses."""
    scheduler = it.loop.scheduler
    wanted = dict.fromkeys(space.allowances, 0)
    room = max(0, scheduler.settings.sequences - len(scheduler.running))
    for name in scheduler.waiting[:room]:
        sequence = it.loop.sequences.get(name)
        for instance, pages in space.needed_at(len(sequence.tokens) + 1 if sequence else 1).items():
            wanted[instance] += pages
    one = space.needed_at(1)
    for instance in wanted:
        # A page more for each row of those that run, what stands elsewhere, and what was refused of late.
        wanted[instance] += one[instance] * len(scheduler.running)
    for _, place, old in space.afar():
        segment = space.segments[place]
        wanted[segment.instance] += space.pages_of(segment, old.tokens)
    for instance, pages in space.refused().items():
        wanted[instance] = max(wanted[instance], pages)
    return wanted


def _work_s(it: Instance) -> float:
    cost, scheduler = it.loop.scheduler.settings.cost, it.loop.scheduler
    if cost is None:
        return 0.0
    waiting = [it.loop.sequences[name] for name in scheduler.waiting if name in it.loop.sequences]
    return sum(cost.chunk(Chunk(0, max(1, len(sequence.tokens)))) for sequence in waiting)
