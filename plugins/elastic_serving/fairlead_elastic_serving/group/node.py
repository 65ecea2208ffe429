"""One instance in its group: carries out what the protocol says, computes for others, keeps its own requests going.

Everything happens in the engine's thread, a piece at a time: what is urgent first (control, and attention that others
ask for), then microbatches in their order, then parts of an exchange. Groups are entered and left between two steps,
when nothing of this instance's is in flight.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..arena.page_arena import Moves
from ..engine.executor import LocalExecutor
from ..engine.loop import Loop, ignore
from ..engine.served_model import ServedModel
from ..errors import ElasticServingError
from ..links.link import Lane, Message, Received
from ..model.attention import PagedAttention
from ..planning.cost_model import Chunk
from .attention import GroupAttention, PieceAttention
from .coordinator import Coordinator, Send
from .decision import Costs
from .fetching import Fetcher, layer_slice
from .member import Action, Compress, Drain, Enter, Fetch, Member, Recover, Resume
from .microbatch import Microbatch
from .mover import Mover, Pace
from .pipeline import PipelineExecutor
from .plan import Phase, Report, stage_of
from .post import Post
from .remote import RemoteAttention, attention_bytes
from .row_store import RowStore
from .settings import GroupSettings
from .space import GroupSpace, Move
from .stage_quotas import StageQuotas
from .stage_service import StageService
from .transfers import Transfers

WAIT_S = 0.02


@dataclass(slots=True)
class GroupTelemetry:
    """What was measured.

    Attributes:
        drops, restores, recoveries: plans that were entered, and faults.
        idle_s: for which this stage waited while its own group had work in flight.
        grouped_s: spent in groups.
        moved_tokens: of exchanges, of one run of layers each.
        fetched_layers: that came back from peers; the others came from disk.
        read_layers: those.
        lost_requests: that were computed again after a fault.
    """

    drops: int = 0
    restores: int = 0
    recoveries: int = 0
    idle_s: float = 0.0
    grouped_s: float = 0.0
    moved_tokens: int = 0
    fetched_layers: int = 0
    read_layers: int = 0
    lost_requests: int = 0


class GroupNode:
    """See the module.

    Attributes:
        member: this instance's side of the protocol.
        telemetry: what was measured.

    Args:
        me: name of the instance: replicas in their order, and no two instances that ever lived alike.
        model: what is served.
        loop: of the engine.
        post: reaches the others.
        settings: of groups.
        warn: hears of messages that could not be handled, with the exception as `exc_info`.
        clock: in seconds.
        wait: lets time pass until a message may have come; replaced where everything is single-stepped.
        wait_for_answer: the same while other instances compute attention.
    """

    def __init__(
        self,
        me: str,
        model: ServedModel,
        loop: Loop,
        post: Post,
        settings: GroupSettings | None = None,
        *,
        warn: Callable[..., object] = ignore,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[], None] | None = None,
        wait_for_answer: Callable[[], None] | None = None,
    ) -> None:
        self.me, self.model, self.loop, self.settings = me, model, loop, settings or GroupSettings()
        self.telemetry = GroupTelemetry()
        self._post, self._clock, self._warn = post, clock, warn
        self._wait = wait or self._wait_for_mail
        config = model.config
        self._layers = config.num_hidden_layers
        self.store = RowStore(model.tables, config.num_key_value_heads)
        paged = self._paged = model.stage.attention
        if not isinstance(paged, PagedAttention):
            raise ElasticServingError("keys and values are not in plain pages: accepted: models served without a group")
        self._transfers = Transfers(paged, self.store)
        pieces = PieceAttention(paged, self.store)
        self.remote = RemoteAttention(post, pieces, self.settings.timing.prepare_s, wait_for_answer)
        self._attention = GroupAttention(me, pieces, self.remote)
        self.service = StageService(model.stage, self.store, post, clock)
        layer_bytes = model.loaded.layout.pages(model.plan.page_bytes) * model.plan.page_bytes
        self.coordinator = Coordinator(
            me,
            [layer_bytes] * self._layers,
            self._costs(),
            self.settings.timing,
            drop_at=self.settings.drop_at,
            restore_at=self.settings.restore_at,
            most_stages=self.settings.most_stages,
        )
        self.member = Member(me, self._layers, self.coordinator)
        self.quotas = StageQuotas(model.loaded.arena, self.store, post)
        self.space: GroupSpace | None = None
        self.mover: Mover | None = None
        self._pipeline: PipelineExecutor | None = None
        self._fetcher: Fetcher | None = None
        self._fetch_epoch = 0
        self._peers: tuple[str, ...] = ()
        self._epoch = 0
        self._early: list[Received] = []
        self._actions: deque[Action] = deque()
        self._waiting: set[str] = set()
        self._waiting_since = 0.0
        self._reported = float("-inf")
        self._grouped_since: float | None = None
        self._lost: set[str] = set()
        self._draining = False

    @property
    def pending(self) -> bool:
        """Whether there is something to do at once."""
        return bool(len(self._post.inbox) or len(self.service) or self.remote.later or self._actions)

    @property
    def poll_s(self) -> float:
        """Within how many seconds `turn` must be called, whether anything happens or not."""
        return self.settings.timing.poll_s / 2

    @property
    def grouped(self) -> bool:
        """Whether this instance holds a part of the layers only."""
        return len(self.member.group) > 1

    def turn(self) -> bool:
        """Do what is due between two steps; returns whether the engine may plan the next one."""
        self._receive()
        self._tick()
        self._carry_out()
        self._background(self._compute())
        self._drained()
        self._leave_if_plain()
        if self._waiting and self._clock() - self._waiting_since > self.settings.entry_s:
            self._do(self.member.broke(self._clock(), self._epoch))
            self._waiting.clear()
            self._carry_out()
        return not (self.member.draining or self._waiting or self.member.phase is Phase.RECOVERING)

    def work(self) -> None:
        """Do something, or wait a little: while a microbatch of this instance's is in flight."""
        if self.serve():
            return
        began = self._clock()
        self._wait()
        self.telemetry.idle_s += self._clock() - began

    def serve(self) -> bool:
        """Do what is due while a microbatch of this instance's is in flight; false if that is nothing."""
        came = self._receive()
        self._tick()
        return self._background(self._compute()) or came

    def check(self) -> None:
        """Raise IntegrityError or ElasticServingError unless pages are held as they must be, here and in quotas."""
        tree = self.model.space.tree
        self.model.tables.check(tree.uses() if tree else None)
        if self.space is not None:
            self.space.check()
        self.quotas.check()

    # Messages

    def _receive(self) -> bool:
        """Handle all that is urgent, and take microbatches in; returns whether anything came."""
        came = False
        while (received := self._next(Lane.ACTIVATIONS)) is not None:
            came = True
            self._handle(received)
        return came

    def _next(self, most: Lane) -> Received | None:
        return self.remote.later.popleft() if self.remote.later else self._post.inbox.take(0.0, most)

    def _wait_for_mail(self) -> None:
        received = self._post.inbox.take(WAIT_S, Lane.EXCHANGE)
        if received is not None:
            self._handle(received)

    def _handle(self, received: Received) -> None:
        message, peer = received.message, received.peer
        if message is None:
            return  # who can be reached is looked at in `_tick`
        try:
            self._dispatch(peer, received, message)
        except Exception as error:
            # Another instance's trouble is not that of the requests here.
            self._warn("message not handled", kind=message.kind, peer=peer, exc_info=error)

    def _dispatch(self, peer: str, received: Received, message: Message) -> None:
        fields, now = message.fields, self._clock()
        match message.kind:
            case "protocol":
                self._do(self.member.receive(now, peer, fields["kind"], fields["fields"]))
            case "attend":
                self.remote.answer(peer, message)
            case "attended":
                self.remote.attended(message)
            case "entered" | "offer" | "answer" | "run" | "trim" | "move":
                self._of_plan(received, message)
            case "stale":
                self._do(self.member.broke(now, int(fields["epoch"])))
            case "done" if self._pipeline:
                self._pipeline.done(int(fields["number"]), message.tensors["hidden"])
            case "failed" if self._pipeline:
                self.service.forget(self.me)
                self._pipeline.failed(int(fields["number"]), str(fields["reason"]))
            case "part":
                self._take_part(message)
            case "arrived" if self.mover and self._pipeline:
                self.mover.arrived(str(fields["piece"]), int(fields["first"]), self._pipeline.submitted)
            case "refused" if self.mover:
                self.mover.refused(str(fields["piece"]))
            case "weights":
                self._send_weights(peer, message)
            case "slice" if self._fetcher:
                self._fetcher.take(peer, int(fields["layer"]), int(fields["offset"]), message.tensors.get("content"))

    def _of_plan(self, received: Received, message: Message) -> None:
        """Handle what belongs to a plan: now, when it is entered, or never."""
        epoch, peer = int(message.fields["epoch"]), received.peer
        coming = self.member.ahead(epoch) or epoch == self.member.epoch
        if epoch > self._epoch and (coming or message.kind != "run"):
            # Who was told first to change over does not wait: this instance hears of it, or does it, in a moment.
            self._early.append(received)
            return
        if message.kind == "trim":
            self._trim_here(message, cut_since=epoch < self._epoch)
            return
        if message.kind == "move":
            self._send_part(peer, message)
            return
        if epoch != self._epoch or (message.kind == "run" and self.member.stale(epoch)):
            if message.kind == "run":
                self._post.try_send(peer, Lane.CONTROL, Message("stale", {"epoch": epoch}))
            return
        match message.kind:
            case "run":
                self.service.add(Microbatch.from_message(message))
            case "entered":
                self.quotas.entered(peer, message)
            case "offer" if self.space is not None:
                self.quotas.offered(peer, message, self.space, self._demand().get(peer, 0))
                self._waiting.discard(peer)
            case "answer":
                self.quotas.answered(peer, message)

    # Time

    def _tick(self) -> None:
        now = self._clock()
        peers = self._post.peers
        if peers != self._peers:
            gone, self._peers = set(self._peers) - set(peers), peers
            for name in gone:
                self._gone(name)
            self._do(self.member.peers(now, peers))
        if now - self._reported >= self.settings.timing.poll_s:
            self._reported = now
            self._do(self.member.tick(now, self._report()))
            if self.space is not None and self.member.phase is not Phase.RECOVERING:
                self.quotas.tell(self.space, self._demand(), self._epoch)
                self.quotas.offer(self._epoch)

    def _gone(self, name: str) -> None:
        self.store.forget([name])
        self.service.forget(name)
        self.quotas.forget(name)
        if self._fetcher is not None:
            self._fetcher.lost(name)
        if self.space is not None:
            self._lost |= {request for request in self.space.names if name in self.space.holders(request)}

    def _do(self, actions: list[Action]) -> None:
        """Send at once; keep for between two steps what changes this instance."""
        for action in actions:
            if isinstance(action, Send):
                message = Message("protocol", {"kind": action.kind, "fields": action.fields})
                self._post.try_send(action.to, Lane.CONTROL, message)
                continue
            if isinstance(action, Recover) and self._pipeline is not None:
                dead = ", ".join(action.dead) or "a stage"
                self._pipeline.break_off(f"the group lost {dead}")
            self._actions.append(action)

    def _carry_out(self) -> None:
        while self._actions:
            match self._actions.popleft():
                case Drain():
                    self._draining = True
                case Enter(plan, _):
                    self._enter(plan.epoch, {stage.first for group in plan.groups for stage in group})
                case Fetch(plan):
                    group = plan.group_of(self.me)
                    self._fetch(plan.epoch, list(stage_of(group, self.me).layers))
                case Resume():
                    self._give_up_fetched()
                case Recover() as action:
                    self._recover(action)
                case Compress():
                    names = self.loop.scheduler.running
                    self.loop.land()
                    self.loop.scheduler.space.relieve(1, names)
        if self._lost:
            self._restart_lost()

    # Plans

    def _drained(self) -> None:
        """Say so when nothing of this instance's is under way any more, parts of an exchange included."""
        if not self._draining:
            return
        self.loop.land()
        if not self.member.draining:
            self._draining = False
        elif self.mover is None or not self.mover.moving:
            self._draining = False
            self._do(self.member.drained())

    def _enter(self, epoch: int, boundaries: set[int]) -> None:
        """Change over to the plan in force."""
        self.loop.land()
        if self.mover is not None and self._pipeline is not None:
            self.mover.settle(self._pipeline.submitted)
        self._fetcher, self._epoch = None, epoch
        group = self.member.group
        mine = stage_of(group, self.me).layers
        space = self.space or self._take_over()
        self._drop([layer for layer in self.model.loaded.layers if layer not in mine])
        self._receive_trims()
        self.store.split(boundaries)
        self.store.uncharge()
        scheduler = self.loop.scheduler
        space.enter(group, boundaries, {name: scheduler.stored(name) for name in space.names}, epoch)
        self._pipeline = PipelineExecutor(
            self.model.stage,
            space,
            self._post,
            self.service.add,
            self.work,
            epoch,
            self.settings.microbatches * len({segment.instance for segment in space.segments}),
        )
        self.mover = self._new_mover(space)
        self.space = scheduler.space = space
        self.loop.executor = self._pipeline
        self.model.stage.attention = self._attention
        self._announce(epoch)

    def _take_over(self) -> GroupSpace:
        """Turn this instance's own requests to pieces; those in host memory are computed again."""
        scheduler, local = self.loop.scheduler, self.model.space
        for name in scheduler.waiting:
            scheduler.restart(name)
        space = GroupSpace(
            self.me,
            self._layers,
            self.store.kv_heads,
            local.page_tokens,
            local.lasting,
            self.model.tables.tables.shape[1],
            self._trim,
        )
        rows = local.hand_over()
        stored = {name: scheduler.stored(name) for name in rows}
        for name, piece in space.take_over(stored).items():
            if stored[name]:
                self.store.adopt(piece, self.me, range(self._layers), rows[name], stored[name])
            else:
                self.model.tables.close(rows[name].reshape(-1))
        return space

    def _announce(self, epoch: int) -> None:
        """Tell all stages what this driver has there and wants, and wait for what it may use."""
        assert self.space is not None
        members = [stage.instance for stage in self.member.group]
        self.quotas.begin(members)
        self._waiting, self._waiting_since = set(members), self._clock()
        self.quotas.announce(self.space, self._demand(), epoch)
        early, self._early = self._early, []
        for received in early:
            self._handle(received)
        now = self._clock()
        if self.grouped:
            self.telemetry.drops += 1
            self._grouped_since = self._grouped_since or now
        else:
            self.telemetry.restores += 1
            self._stop_grouped(now)

    def _stop_grouped(self, now: float) -> None:
        if self._grouped_since is not None:
            self.telemetry.grouped_s += now - self._grouped_since
            self._grouped_since = None

    def _drop(self, layers: list[int]) -> None:
        self.model.loaded.arena.drop(layers)
        for layer in layers:
            del self.model.loaded.layers[layer]
        self.model.stage.layers = dict(self.model.loaded.layers)

    def _fetch(self, epoch: int, layers: list[int]) -> None:
        held = {stage.instance: stage.layers for stage in self.member.group}
        wanted = {
            layer: [name for name, there in held.items() if layer in there and name != self.me]
            for layer in layers
            if layer not in self.model.loaded.layers
        }
        self._fetch_epoch = epoch
        self._fetcher = self._new_fetcher(wanted)

    def _new_fetcher(self, wanted: dict[int, list[str]]) -> Fetcher:
        return Fetcher(
            self.model.loaded, wanted, self._post, self._make_room, self._moved, self._clock,
            self.settings.timing.prepare_s,
        )  # fmt: skip

    def _make_room(self, pages: int) -> bool:
        if self.member.phase is Phase.RECOVERING:
            return True
        return self.quotas.shrink(pages, self._epoch)

    def _moved(self, moves: Moves) -> None:
        self.model.loaded.memory.copy(moves)
        self.model.space.moved(moves)

    def _give_up_fetched(self) -> None:
        """Give layers away again that came back for a plan that was abandoned."""
        fetcher, self._fetcher = self._fetcher, None
        self.quotas.keep_all()
        if fetcher is None:
            return
        here = self.model.loaded.arena
        mine = stage_of(self.member.group, self.me).layers
        there = [layer for layer in range(self._layers) if layer not in here.dropped and layer not in mine]
        here.drop(there)
        for layer in there:
            self.model.loaded.layers.pop(layer, None)
        self.model.stage.layers = dict(self.model.loaded.layers)

    def _recover(self, action: Recover) -> None:
        """Take everything back: the group is broken, and what it held is computed again."""
        self.telemetry.recoveries += 1
        self._stop_grouped(self._clock())
        space, scheduler = self.space, self.loop.scheduler
        self.telemetry.lost_requests += len(space.names) if space is not None else 0
        self.loop.land()
        if space is not None:
            for name in space.names:
                scheduler.restart(name)
        self.service.forget()
        self._early.clear()
        self._waiting.clear()
        self._lost.clear()
        self._to_local()
        self.store.forget([*{stage.instance for stage in action.group}, self.me])
        others = [name for name in self._post.peers if name not in action.dead]
        missing = [layer for layer in range(self._layers) if layer not in self.model.loaded.layers]
        self._fetcher = self._new_fetcher({layer: list(others) for layer in missing})

    def _restart_lost(self) -> None:
        """Compute requests again of which a part was at an instance that is gone."""
        lost, self._lost = self._lost, set()
        self.loop.land()
        space = self.space
        for name in lost & set(space.names if space is not None else ()):
            self.telemetry.lost_requests += 1
            self.loop.scheduler.restart(name)

    def _leave_if_plain(self) -> None:
        """Be an ordinary engine again when nothing is left of the last group."""
        space = self.space
        if space is None or self.grouped or self.member.draining or self.member.phase is not Phase.SOLO:
            return
        if self._waiting or not space.plain():
            return
        own = {part.piece for name in space.names for part in space.parts(name)}
        if any(piece not in own for piece in self.store.names):
            return
        self.loop.land()
        if not space.plain():
            return
        self._hand_back(space)
        self._to_local()

    def _hand_back(self, space: GroupSpace) -> None:
        scheduler, local = self.loop.scheduler, self.model.space
        self._receive_trims()
        for name in space.names:
            stored = scheduler.stored(name)
            pieces = [part.piece for part in space.parts(name)]
            there = [self.store.release(piece).rows for piece in pieces if piece in self.store]
            if stored and len(there) == len(pieces):
                local.take_over(name, np.concatenate(there), stored)
            else:
                for rows in there:
                    self.model.tables.close(rows.reshape(-1))
                local.take_over(name, self._empty_rows(), 0)

    def _empty_rows(self) -> np.ndarray:
        shape = (self._layers, self.store.kv_heads)
        if self.model.tables.free_rows < shape[0] * shape[1]:
            self.model.tables.grow(shape[0] * shape[1])
        return self.model.tables.open(shape[0] * shape[1]).reshape(shape)

    def _to_local(self) -> None:
        self.loop.executor = LocalExecutor(self.model.stage)
        self.loop.scheduler.space = self.model.space
        self.model.stage.attention = self._paged
        self.space = self.mover = self._pipeline = None
        self.quotas.end()

    # Work

    def _compute(self) -> bool:
        return self.service.step()

    def _background(self, computed: bool) -> bool:
        """Do something that can wait: once after every microbatch, so that it is not put off for ever."""
        received = self._post.inbox.take(0.0, Lane.EXCHANGE)
        if received is not None:
            self._handle(received)
            return True
        mover, pipeline = self.mover, self._pipeline
        if mover is not None and pipeline is not None:
            mover.settle(pipeline.answered)
            if not self._waiting and not self.member.draining and mover.step(self._clock(), self._post.busy):
                return True
        return self._fetch_step() or computed

    def _fetch_step(self) -> bool:
        fetcher = self._fetcher
        if fetcher is None:
            return False
        went = fetcher.step()
        if not fetcher.done:
            return went
        self.model.stage.layers = dict(self.model.loaded.layers)
        self.telemetry.fetched_layers += fetcher.from_peers
        self.telemetry.read_layers += fetcher.from_disk
        fetcher.from_peers = fetcher.from_disk = 0
        if self.member.phase is Phase.RECOVERING:
            self._fetcher = None
            self._do(self.member.recovered())
        else:
            self._do(self.member.fetched(self._fetch_epoch))
        return went

    def _new_mover(self, space: GroupSpace) -> Mover:
        settings, config = self.settings, self.model.config
        spent = self.service.busy_s / self.service.computed if self.service.computed else 0.01
        pace = Pace(
            settings.link_bytes_per_s,
            settings.latency_s,
            spent,
            self._transfers.token_bytes,
            attention_bytes(config.num_attention_heads, config.head_dim),
        )
        return Mover(space, self._remaining, self._order, self._trim, pace, allowed=self.settings.exchange)

    def _remaining(self, name: str) -> int:
        sequence = self.loop.sequences.get(name)
        return 0 if sequence is None else max(0, sequence.limit - len(sequence.tokens))

    def _order(self, move: Move) -> bool:
        segment = self.space.segments[move.segment]  # type: ignore[union-attr]
        into = next(
            (old.tokens for old in self.space.parts(move.name)[move.segment].older if old.piece == move.gathered),  # type: ignore[union-attr]
            0,
        )
        fields = {
            "epoch": self._epoch,
            "piece": move.piece,
            "first": move.first,
            "end": move.end,
            "to": move.target,
            "gathered": move.gathered,
            "at": into,
            "layers": [segment.first, segment.end],
        }
        return self._post.try_send(move.source, Lane.EXCHANGE, Message("move", fields))

    def _trim(self, instance: str, piece: str, tokens: int) -> None:
        if instance == self.me:
            self.store.trim(piece, tokens)
            return
        self._post.try_send(instance, Lane.ACTIVATIONS, self._trimming(piece, tokens))

    def _trimming(self, piece: str, tokens: int) -> Message:
        return Message("trim", {"epoch": self._epoch, "pieces": [[piece, tokens]]})

    def _trim_here(self, message: Message, *, cut_since: bool) -> None:
        for name, tokens in message.fields["pieces"]:
            (self.store.trim_all if cut_since else self.store.trim)(str(name), int(tokens))

    def _send_part(self, driver: str, message: Message) -> None:
        fields = message.fields
        piece, first, end = str(fields["piece"]), int(fields["first"]), int(fields["end"])
        if piece not in self.store or self.store.piece(piece).room < end:
            self._post.try_send(driver, Lane.EXCHANGE, Message("refused", {"piece": piece}))
            return
        part = Message("part", dict(fields) | {"driver": driver}, self._transfers.read(piece, first, end))
        if not self._post.try_send(str(fields["to"]), Lane.EXCHANGE, part):
            self._post.try_send(driver, Lane.EXCHANGE, Message("refused", {"piece": piece}))

    def _take_part(self, message: Message) -> None:
        fields = message.fields
        driver, first = str(fields["driver"]), int(fields["first"])
        layers = range(*fields["layers"])
        reply = Message("arrived", {"piece": fields["piece"], "first": first})
        try:
            self._transfers.write(str(fields["gathered"]), driver, layers, int(fields["at"]), message.tensors)
            self.telemetry.moved_tokens += int(fields["end"]) - first
        except ElasticServingError:
            reply = Message("refused", {"piece": fields["piece"]})
        self._post.try_send(driver, Lane.EXCHANGE, reply)

    def _send_weights(self, peer: str, message: Message) -> None:
        fields = message.fields
        layer, offset = int(fields["layer"]), int(fields["offset"])
        content = layer_slice(self.model.loaded, layer, offset, int(fields["bytes"]))
        tensors = {} if content is None else {"content": content}
        self._post.try_send(peer, Lane.EXCHANGE, Message("slice", {"layer": layer, "offset": offset}, tensors))

    def _receive_trims(self) -> None:
        """Handle what was told to this instance before, so that pieces are as their drivers think they are."""
        self._receive()

    # Reports

    def _costs(self) -> Costs:
        plan, settings = self.model.plan, self.settings
        allowed = frozenset({"drop", "compress"} if settings.drop else {"compress"})
        return Costs(
            page_bytes=plan.page_bytes,
            token_bytes=plan.token_bytes,
            link_bytes_per_s=settings.link_bytes_per_s,
            microbatches=2 * settings.microbatches,
            allowed=allowed,
        )

    def _report(self) -> Report:
        scheduler, arena = self.loop.scheduler, self.model.loaded.arena
        demand = scheduler.demand()
        running = scheduler.running
        stored = [scheduler.stored(name) for name in running]
        local = self.model.space
        ended = self.loop.telemetry.request_s
        capacity = arena.capacity
        held = capacity - arena.free - (local.tree.evictable if local.tree else 0)
        return Report(
            phase=self.member.phase,
            epoch=0,
            seen=0,
            group=self.member.group,
            settled=self._settled(),
            fetched=0,
            held=held,
            capacity=capacity,
            own_capacity=arena.own_capacity,
            queued=tuple(demand.queued),
            alone=sum(local.needed(tokens + 1) for tokens in stored),
            running=len(running),
            running_tokens=sum(stored),
            work_s=self._work_s(),
            residence_s=ended.total / ended.count if ended.count else 0.0,
        )

    def _settled(self) -> bool:
        if self._waiting or self._fetcher is not None or self.space is None:
            return self._fetcher is None and not self._waiting
        return self.mover is None or not self.mover.pending()

    def _work_s(self) -> float:
        cost, scheduler = self.loop.scheduler.settings.cost, self.loop.scheduler
        if cost is None:
            return 0.0
        waiting = [self.loop.sequences[name] for name in scheduler.waiting if name in self.loop.sequences]
        return sum(cost.chunk(Chunk(0, max(1, len(sequence.tokens)))) for sequence in waiting)

    def _demand(self) -> dict[str, int]:
        """Pages that this driver wants at each stage beyond those that it uses."""
        space, scheduler = self.space, self.loop.scheduler
        if space is None:
            return {}
        wanted = dict.fromkeys(space.allowances, 0)
        room = max(0, scheduler.settings.sequences - len(scheduler.running))
        for name in scheduler.waiting[:room]:
            sequence = self.loop.sequences.get(name)
            for instance, pages in space.needed_at(len(sequence.tokens) + 1 if sequence else 1).items():
                wanted[instance] += pages
        one = space.needed_at(1)
        for instance in wanted:
            # A page more for each row of those that run, and what was refused of late.
            wanted[instance] += one[instance] * len(scheduler.running)
        for _, place, old in space.afar():
            segment = space.segments[place]
            wanted[segment.instance] += space.pages_of(segment, old.tokens)
        for instance, pages in space.refused().items():
            wanted[instance] = max(wanted[instance], pages)
        return wanted
