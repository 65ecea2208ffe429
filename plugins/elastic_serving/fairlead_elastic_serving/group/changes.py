"""Changes an instance from serving alone to serving in a group and back: between steps, when nothing is in flight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arena.page_arena import Moves
from ..engine.executor import LocalExecutor
from ..links.link import Lane, Message
from ..planning.drop_plan import Group
from .fetching import Fetcher
from .instance import Instance
from .mover import Mover, Pace
from .pipeline import PipelineExecutor
from .plan import Plan, stage_of
from .remote import attention_bytes
from .space import GroupSpace, Move


class Changes:
    """What a plan makes of an instance.

    Attributes:
        epoch: of the plan that was entered last.
        space: room for this driver's requests in its group; None while it serves alone.
        mover: its exchange.
        pipeline: its microbatches.
        fetcher: layers that come back.

    Args:
        it: the instance.
        work: does something of what is due, or waits a little.
        receive: handles what has come.
    """

    def __init__(self, it: Instance, work: Callable[[], None], receive: Callable[[], object]) -> None:
        self.epoch = 0
        self.space: GroupSpace | None = None
        self.mover: Mover | None = None
        self.pipeline: PipelineExecutor | None = None
        self.fetcher: Fetcher | None = None
        self._it, self._work, self._receive = it, work, receive
        self._grouped_since: float | None = None

    def enter(self, plan: Plan, group: Group) -> GroupSpace:
        """Change over to a plan, in a group of it."""
        it = self._it
        it.loop.land()
        if self.mover is not None and self.pipeline is not None:
            self.mover.settle(self.pipeline.submitted)
        self.fetcher = None
        boundaries = {stage.first for some in plan.groups for stage in some}
        mine = stage_of(group, it.me).layers
        space = self.space or self._take_over()
        self._drop([layer for layer in it.model.loaded.layers if layer not in mine])
        # What was told to this instance before, so that pieces are as their drivers think they are.
        self._receive()
        self.epoch = plan.epoch
        it.store.split(boundaries)
        it.store.uncharge()
        scheduler = it.loop.scheduler
        space.enter(group, boundaries, {name: scheduler.stored(name) for name in space.names}, plan.epoch)
        self.pipeline = PipelineExecutor(
            it.model.stage,
            space,
            it.post,
            it.service.add,
            self._work,
            plan.epoch,
            it.settings.microbatches * len({segment.instance for segment in space.segments}),
            it.settings.least_tokens,
            it.service.drivers,
            it.settings.latency_s,
            lambda: it.service.cost.fixed_s,
            it.service.rounds.others_s,
            self._give_up,
            it.telemetry.flights.append,
            it.clock,
        )
        self.mover = self._new_mover(space)
        self.space = scheduler.space = space
        it.loop.executor = self.pipeline
        it.model.stage.attention = it.attention
        self._count(grouped=len(group) > 1)
        return space

    def fetch(self, layers: range, group: Group) -> None:
        """Begin to bring layers back, from those that hold them in a group."""
        it = self._it
        held = {stage.instance: stage.layers for stage in group}
        wanted = {
            layer: [name for name, there in held.items() if layer in there and name != it.me]
            for layer in layers
            if layer not in it.model.loaded.layers
        }
        self.fetcher = self._new_fetcher(wanted, lambda pages: it.quotas.shrink(pages, self.epoch))

    def give_up_fetched(self, group: Group) -> None:
        """Give layers away again that came back for a plan that was abandoned."""
        it = self._it
        fetcher, self.fetcher = self.fetcher, None
        it.quotas.keep_all()
        if fetcher is None:
            return
        arena, mine = it.model.loaded.arena, stage_of(group, it.me).layers
        there = [layer for layer in range(it.layers) if layer not in arena.dropped and layer not in mine]
        arena.drop(there)
        for layer in there:
            it.model.loaded.layers.pop(layer, None)
        self.show_layers()

    def recover(self, group: Group, dead: tuple[str, ...]) -> None:
        """Take everything back: the group is broken, and what it held is computed again."""
        it, space, scheduler = self._it, self.space, self._it.loop.scheduler
        it.telemetry.recoveries += 1
        it.telemetry.lost_requests += len(space.names) if space is not None else 0
        self._stop_grouped()
        it.loop.land()
        for name in space.names if space is not None else ():
            scheduler.restart(name)
        it.service.forget()
        self._to_local()
        it.store.forget([*{stage.instance for stage in group}, it.me])
        others = [name for name in it.post.peers if name not in dead]
        missing = [layer for layer in range(it.layers) if layer not in it.model.loaded.layers]
        self.fetcher = self._new_fetcher({layer: list(others) for layer in missing}, lambda pages: True)

    def restart(self, lost: set[str]) -> None:
        """Compute requests again of which a part was at an instance that is gone."""
        it = self._it
        it.loop.land()
        for name in lost & set(self.space.names if self.space is not None else ()):
            it.telemetry.lost_requests += 1
            it.loop.scheduler.restart(name)

    def leave_if_plain(self) -> None:
        """Be an ordinary engine again when nothing is left of the last group."""
        space, mover = self.space, self.mover
        if space is None or not space.plain() or (mover is not None and mover.moving):
            return
        own = {part.piece for name in space.names for part in space.parts(name)}
        if any(piece not in own for piece in self._it.store.names):
            return
        self._it.loop.land()
        if space.plain():
            if mover is not None and self.pipeline is not None:
                # What moved home is still where it came from.
                mover.settle(self.pipeline.submitted)
            self._hand_back(space)
            self._to_local()

    def show_layers(self) -> None:
        """Let the stage compute the layers that are here."""
        self._it.model.stage.layers = dict(self._it.model.loaded.layers)

    def _count(self, *, grouped: bool) -> None:
        it = self._it
        if grouped:
            it.telemetry.drops += 1
            self._grouped_since = self._grouped_since or it.clock()
        else:
            it.telemetry.restores += 1
            self._stop_grouped()

    def _stop_grouped(self) -> None:
        if self._grouped_since is not None:
            now = self._it.clock()
            self._it.telemetry.grouped_s += now - self._grouped_since
            self._it.telemetry.groups.append((self._grouped_since, now))
            self._grouped_since = None

    def _take_over(self) -> GroupSpace:
        """Turn this instance's own requests to pieces; those in host memory are computed again."""
        scheduler, local = self._it.loop.scheduler, self._it.model.space
        for name in scheduler.waiting:
            scheduler.restart(name)
        space = GroupSpace(
            self._it.me,
            self._it.layers,
            self._it.store.kv_heads,
            local.page_tokens,
            local.lasting,
            self._it.model.tables.tables.shape[1],
            self._trim,
        )
        rows = local.hand_over()
        stored = {name: scheduler.stored(name) for name in rows}
        for name, piece in space.take_over(stored).items():
            if stored[name]:
                self._it.store.adopt(piece, self._it.me, range(self._it.layers), rows[name], stored[name])
            else:
                self._it.model.tables.close(rows[name].reshape(-1))
        return space

    def _drop(self, layers: list[int]) -> None:
        self._it.model.loaded.arena.drop(layers)
        for layer in layers:
            del self._it.model.loaded.layers[layer]
        self.show_layers()

    def _new_fetcher(self, wanted: dict[int, list[str]], make_room: Callable[[int], bool]) -> Fetcher:
        it = self._it
        return Fetcher(it.model.loaded, wanted, it.post, make_room, self._moved, it.clock, it.settings.timing.prepare_s)

    def _moved(self, moves: Moves) -> None:
        self._it.model.loaded.memory.copy(moves)
        self._it.model.space.moved(moves)

    def _hand_back(self, space: GroupSpace) -> None:
        scheduler, local = self._it.loop.scheduler, self._it.model.space
        self._receive()
        for name in space.names:
            stored = scheduler.stored(name)
            pieces = [part.piece for part in space.parts(name)]
            there = [self._it.store.release(piece).rows for piece in pieces if piece in self._it.store]
            if stored and len(there) == len(pieces):
                local.take_over(name, np.concatenate(there), stored)
            else:
                for rows in there:
                    self._it.model.tables.close(rows.reshape(-1))
                local.take_over(name, self._empty_rows(), 0)

    def _empty_rows(self) -> np.ndarray:
        shape = (self._it.layers, self._it.store.kv_heads)
        if self._it.model.tables.free_rows < shape[0] * shape[1]:
            self._it.model.tables.grow(shape[0] * shape[1])
        return self._it.model.tables.open(shape[0] * shape[1]).reshape(shape)

    def _to_local(self) -> None:
        self._it.loop.executor = LocalExecutor(self._it.model.stage)
        self._it.loop.scheduler.space = self._it.model.space
        self._it.model.stage.attention = self._it.paged
        self.space = self.mover = self.pipeline = None
        self._it.quotas.end()

    def _new_mover(self, space: GroupSpace) -> Mover:
        settings, config = self._it.settings, self._it.model.config
        spent = self._it.service.busy_s / self._it.service.computed if self._it.service.computed else 0.01
        pace = Pace(
            settings.link_bytes_per_s,
            settings.latency_s,
            spent,
            self._it.transfers.token_bytes,
            attention_bytes(config.num_attention_heads, config.head_dim),
        )
        return Mover(space, self._remaining, self._order, self._trim, pace, allowed=self._it.settings.exchange)

    def _remaining(self, name: str) -> int:
        sequence = self._it.loop.sequences.get(name)
        return 0 if sequence is None else max(0, sequence.limit - len(sequence.tokens))

    def _order(self, move: Move) -> bool:
        assert self.space is not None
        segment, part = self.space.segments[move.segment], self.space.parts(move.name)[move.segment]
        into = next((old.tokens for old in part.older if old.piece == move.gathered), 0)
        fields = {
            "epoch": self.epoch,
            "piece": move.piece,
            "first": move.first,
            "end": move.end,
            "to": move.target,
            "gathered": move.gathered,
            "at": into,
            "layers": [segment.first, segment.end],
        }
        return self._it.post.try_send(move.source, Lane.EXCHANGE, Message("move", fields))

    def _give_up(self, number: int) -> None:
        """Have no stage compute microbatches of this driver up to a number; sent before anything is trimmed."""
        it = self._it
        it.service.give_up(it.me, self.epoch, number)
        stages = {segment.instance for segment in self.space.segments} if self.space else set[str]()
        for stage in stages - {it.me}:
            it.post.try_send(stage, Lane.ACTIVATIONS, Message("give up", {"epoch": self.epoch, "number": number}))

    def _trim(self, instance: str, piece: str, tokens: int) -> None:
        if instance == self._it.me:
            self._it.store.trim(piece, tokens)
            return
        message = Message("trim", {"epoch": self.epoch, "pieces": [[piece, tokens]]})
        self._it.post.try_send(instance, Lane.ACTIVATIONS, message)
