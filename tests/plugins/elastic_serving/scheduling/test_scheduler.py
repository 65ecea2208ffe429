"""The scheduler over a real arena: every request ends, nothing leaks, and what was stored is what is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.arena.page_arena import PageArena
from fairlead_elastic_serving.arena.page_tables import PageTables
from fairlead_elastic_serving.engine.local_space import LocalSpace
from fairlead_elastic_serving.errors import ElasticServingError, OutOfPages
from fairlead_elastic_serving.planning.cost_model import CostModel
from fairlead_elastic_serving.planning.overload import overloaded
from fairlead_elastic_serving.scheduling import Request, Scheduler, Settings, Step

ROWS, TOKENS, WIDTH = 2, 4, 12


def scheduler(pages: int, *, layers: tuple[int, ...] = (), rows: int = 40, host_pages: int = 0, **more) -> Scheduler:
    tables = PageTables(PageArena(pages + sum(layers), layers), rows, WIDTH, (TOKENS, TOKENS))
    space = LocalSpace(tables, 1, ROWS, host_pages=host_pages)
    return Scheduler(space, Settings(**{"step_tokens": 16, "sequences": 6, **more}))


def arena_of(subject: Scheduler) -> PageArena:
    return subject.space.tables.arena


class Memory:
    """The pages' bytes: in each slot of each page which token of which request was stored there."""

    def __init__(self, subject: Scheduler) -> None:
        self.subject = subject
        self.pages = np.full((arena_of(subject).pages, TOKENS), "", object)
        self.host = np.full((100, TOKENS), "", object)

    def run(self, step: Step) -> None:
        for swap in step.swaps_out:
            self.host[swap.slots] = self.pages[swap.pages]
        for swap in step.swaps_in:
            self.pages[swap.pages] = self.host[swap.slots]
        for item in step.scheduled:
            for number, row in enumerate(item.rows.reshape(-1)):
                table = self.subject.space.tables.tables[row]
                for token in range(item.chunk.prefix):
                    stored = self.pages[table[token // TOKENS], token % TOKENS]
                    assert stored == f"{item.name}/{number}/{token}"
                for token in range(item.chunk.prefix, item.chunk.prefix + item.chunk.tokens):
                    self.pages[table[token // TOKENS], token % TOKENS] = f"{item.name}/{number}/{token}"


REQUESTS = st.lists(st.tuples(st.integers(1, 14), st.integers(1, 10), st.integers(0, 6)), min_size=1, max_size=9)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS, st.integers(12, 30), st.integers(0, 20), st.integers(1, 20), st.data())
def test_every_request_ends_and_reads_what_it_stored(some, pages: int, host: int, budget: int, data) -> None:
    subject = scheduler(pages, layers=(4, 4), host_pages=host, step_tokens=budget)
    memory, arena = Memory(subject), arena_of(subject)
    arrivals = sorted((when, number, prompt, most) for number, (prompt, most, when) in enumerate(some))
    drawn: dict[str, int] = {}
    for now in range(2000):
        while arrivals and arrivals[0][0] <= now:
            _, number, prompt, most = arrivals.pop(0)
            subject.add(Request(f"r{number}", prompt, most))
        if now < 40 and data.draw(st.booleans(), label="drop or restore"):
            _drop_or_restore(subject, memory, arena)
        step = subject.step()
        assert step.tokens <= budget
        assert step.scheduled or not subject.running
        memory.run(step)
        for item in step.scheduled:
            drawn[item.name] = drawn.get(item.name, 0) + item.samples
        subject.computed()
        subject.check()
        if not (arrivals or subject.running or subject.waiting):
            break
    assert drawn == {f"r{number}": most for number, (_, most, _) in enumerate(some)}
    assert arena.used == 0


def _drop_or_restore(subject: Scheduler, memory: Memory, arena: PageArena) -> None:
    if len(arena.dropped) < 2:
        arena.drop([0 if 0 not in arena.dropped else 1])
        return
    try:
        moves = arena.restore(arena.dropped[0])
    except OutOfPages:
        return
    memory.pages[moves.target] = memory.pages[moves.source]
    subject.moved(moves)


def run(subject: Scheduler, steps: int, memory: Memory | None = None) -> list[Step]:
    """Steps from the beginning on, or from where a memory is."""
    memory, done = memory or Memory(subject), []
    for _ in range(steps):
        step = subject.step()
        memory.run(step)
        subject.computed()
        subject.check()
        done.append(step)
    return done


def test_prompts_are_cut_and_share_steps_with_those_that_generate() -> None:
    subject = scheduler(60, step_tokens=6)
    subject.add(Request("a", 4, 8))
    subject.add(Request("b", 11, 3))
    steps = run(subject, 3)
    chunks = [
        [(item.name, item.chunk.prefix, item.chunk.tokens, item.samples) for item in step.scheduled] for step in steps
    ]
    assert chunks == [
        [("a", 0, 4, True), ("b", 0, 2, False)],
        [("a", 4, 1, True), ("b", 2, 5, False)],
        [("a", 5, 1, True), ("b", 7, 4, True)],
    ]


def test_a_step_that_is_long_enough_takes_nobody_else_in() -> None:
    # What a step costs by itself is what a token costs: eight tokens are enough.
    subject = scheduler(60, cost=CostModel(0.0, 1e-3, 1e-3))
    for name in "abcd":
        subject.add(Request(name, 5, 4))
    assert [[item.name for item in step.scheduled] for step in run(subject, 3)] == [
        list("ab"),
        list("abcd"),
        list("abcd"),
    ]


def test_however_many_generate_somebody_comes_in() -> None:
    subject = scheduler(80, rows=40, cost=CostModel(0.0, 1e-3, 0.0))
    for name in "abcdef":
        subject.add(Request(name, 5, 9))
    assert [len(step.scheduled) for step in run(subject, 6)] == [1, 2, 3, 4, 5, 6]


def test_a_prompt_that_came_in_keeps_its_room_while_it_is_cut() -> None:
    subject = scheduler(12, step_tokens=4)
    memory = Memory(subject)
    subject.add(Request("a", 20, 2))
    run(subject, 1, memory)
    assert arena_of(subject).used == 10
    subject.add(Request("b", 5, 1))
    run(subject, 1, memory)
    assert subject.running == ("a",) and arena_of(subject).used == 10


def test_the_youngest_gives_its_pages_up_and_comes_back() -> None:
    subject = scheduler(8, host_pages=8)
    for name in "ab":
        subject.add(Request(name, 7, 9))
    steps = run(subject, 16)
    swapped = [swap.name for step in steps for swap in step.swaps_out]
    assert swapped == ["b"]
    assert [swap.name for step in steps for swap in step.swaps_in] == ["b"]
    assert not any(step.recomputed for step in steps)


def test_without_host_memory_it_is_computed_again() -> None:
    subject = scheduler(8)
    for name in "ab":
        subject.add(Request(name, 7, 9))
    steps = run(subject, 30)
    assert [name for step in steps for name in step.recomputed] == ["b"]
    again = [item.chunk for step in steps for item in step.scheduled if item.name == "b" and item.chunk.prefix == 0]
    assert again[-1].tokens > 7, "what it had generated is computed with its prompt"
    assert not subject.running and not subject.waiting


@pytest.mark.parametrize(("bandwidth", "swaps"), [(1e12, 1), (1.0, 0)])
def test_swapping_or_computing_again_is_chosen_by_its_time(bandwidth: float, swaps: int) -> None:
    cost = CostModel(1e-8, 1e-5, 1e-3)
    subject = scheduler(8, host_pages=8, host_bytes_per_s=bandwidth, cost=cost)
    for name in "ab":
        subject.add(Request(name, 7, 9))
    assert sum(len(step.swaps_out) for step in run(subject, 12)) == swaps


def test_a_dropped_layer_lets_the_queue_in_at_once() -> None:
    subject = scheduler(8, layers=(8,))
    memory = Memory(subject)
    for name in "ab":
        subject.add(Request(name, 13, 3))
    run(subject, 1, memory)
    assert subject.running == ("a",) and overloaded(subject.demand())
    arena_of(subject).drop([0])
    assert not overloaded(subject.demand())
    run(subject, 1, memory)
    assert subject.running == ("a", "b")


def test_aborted_requests_leave_nothing() -> None:
    subject = scheduler(8, host_pages=8)
    for name in "abc":
        subject.add(Request(name, 7, 9))
    steps = run(subject, 6)
    assert any(step.swaps_out for step in steps)
    step = subject.step()
    assert step.scheduled
    for name in "abc":
        subject.abort(name)
    subject.computed()
    subject.check()
    assert arena_of(subject).used == 0 and not subject.waiting
    with pytest.raises(ElasticServingError, match="request 'a' is not there"):
        subject.abort("a")


def test_what_the_step_that_is_out_writes_stays_held_when_it_is_aborted() -> None:
    subject = scheduler(8)
    subject.add(Request("a", 15, 2))
    held = subject.space.tables.tables[subject.step().scheduled[0].rows]
    subject.abort("a")
    with pytest.raises(ElasticServingError, match="'a' is there already"):
        subject.add(Request("a", 3, 2))
    subject.add(Request("b", 3, 2))
    assert not subject.step().scheduled, "its pages are not free yet"
    assert arena_of(subject).used == 8 and (arena_of(subject).holders(held[held >= 0]) == 1).all()
    subject.check()
    assert subject.computed() == ()
    assert arena_of(subject).used == 0
    subject.check()
    assert [(item.chunk.prefix, item.chunk.tokens) for item in run(subject, 1)[0].scheduled] == [(0, 3)]


def test_who_is_not_in_the_step_that_is_out_leaves_at_once() -> None:
    subject = scheduler(12, step_tokens=4)
    for name in "ab":
        subject.add(Request(name, 5, 3))
    run(subject, 2)
    assert subject.running == ("a", "b")
    subject.settings = replace(subject.settings, step_tokens=1)
    assert [item.name for item in subject.step().scheduled] == ["a"]
    used = arena_of(subject).used
    subject.abort("b")
    assert arena_of(subject).used == used - 4
    subject.computed()
    subject.check()


def test_requests_that_end_early_leave_at_once() -> None:
    subject = scheduler(8)
    subject.add(Request("a", 3, 9))
    subject.step()
    assert subject.computed(ended=["a"]) == ("a",)
    assert arena_of(subject).used == 0


def test_what_cannot_run_is_refused() -> None:
    subject = scheduler(8)
    with pytest.raises(ElasticServingError, match="20 tokens take 10 pages; accepted: 8"):
        subject.add(Request("a", 12, 9))
    subject.add(Request("a", 1, 1))
    with pytest.raises(ElasticServingError, match="'a' is there already"):
        subject.add(Request("a", 1, 1))
    with pytest.raises(ValueError, match="accepted: prompt and most_tokens 1 and above"):
        Request("b", 0, 1)
    with pytest.raises(ValueError, match="accepted: step_tokens"):
        Settings(0, 1)


def test_several_steps_may_be_out_and_who_is_in_them_gives_nothing_up() -> None:
    subject = scheduler(8, step_tokens=4)
    for name in "ab":
        subject.add(Request(name, 7, 2))
    first, second, third, fourth = (subject.step() for _ in range(4))
    chunks = [
        [(item.name, item.chunk.prefix, item.chunk.tokens) for item in step.scheduled] for step in (first, second)
    ]
    assert chunks == [[("a", 0, 4)], [("a", 4, 3), ("b", 0, 1)]]
    assert [item.samples for item in second.scheduled] == [True, False]
    assert [item.chunk.prefix for item in third.scheduled] == [1] and [
        (item.name, item.chunk.prefix) for item in fourth.scheduled
    ] == [("b", 5)]
    assert not subject.step().scheduled, "everything that can be computed is out"
    subject.computed(first.scheduled)
    subject.computed(second.scheduled)
    assert [(item.name, item.chunk.prefix) for item in subject.step().scheduled] == [("a", 7)]
    subject.check()


def test_a_chunk_that_is_out_is_cut_for_two_microbatches() -> None:
    subject = scheduler(8)
    subject.add(Request("a", 7, 2))
    first, second = subject.cut(subject.step().scheduled[0], 3)
    assert (first.chunk.prefix, first.chunk.tokens, first.samples) == (0, 3, False)
    assert (second.chunk.prefix, second.chunk.tokens, second.samples) == (3, 4, True)
    subject.computed([first])
    subject.computed([second])
    assert [item.chunk.prefix for item in subject.step().scheduled] == [7]
