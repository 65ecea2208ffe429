"""One instance in its group: carries out what the protocol says, computes for others, keeps its own requests going.

Everything happens in the engine's thread, a piece at a time: what is urgent first (control, and attention that others
ask for), then microbatches in their order, then parts of an exchange. Groups are entered and left between two steps,
when nothing of this instance's is in flight.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ..engine.loop import Loop, ignore
from ..engine.served_model import ServedModel
from ..links.link import Lane, Message, Received
from . import deliveries
from .changes import Changes
from .coordinator import Coordinator, Send
from .instance import Instance
from .member import Action, Compress, Drain, Enter, Fetch, Member, Recover, Resume
from .microbatch import Microbatch
from .plan import Phase, Plan, stage_of
from .post import Post
from .reports import costs_of, look, report_of, rests, wanted_pages
from .settings import GroupSettings
from .space import GroupSpace

WAIT_S = 0.02


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
        chosen = settings or GroupSettings()
        it = self._it = Instance(me, model, loop, post, chosen, clock, wait_for_answer, self.rested)
        self.me, self.settings, self.telemetry = me, chosen, it.telemetry
        self.store, self.remote, self.service, self.quotas = it.store, it.remote, it.service, it.quotas
        self._post, self._clock, self._warn = post, clock, warn
        self._wait = wait or self._wait_for_mail
        layer_bytes = model.loaded.layout.pages(model.plan.page_bytes) * model.plan.page_bytes
        self.coordinator = Coordinator(
            me,
            [layer_bytes] * it.layers,
            costs_of(it),
            chosen.timing,
            drop_at=chosen.drop_at,
            restore_at=chosen.restore_at,
            most_stages=chosen.most_stages,
        )
        self.member = Member(me, it.layers, self.coordinator)
        self._changes = Changes(it, self.work, self._receive)
        self._fetch_epoch = 0
        self._peers: tuple[str, ...] = ()
        self._early: list[Received] = []
        self._actions: deque[Action] = deque()
        self._waiting: set[str] = set()
        self._waiting_since = 0.0
        self._polled = self._reported = float("-inf")
        self._resting: tuple[object, ...] = ()
        self._lost: set[str] = set()
        self._cut: set[str] = set()
        self._draining = False
        self._put_off = False

    @property
    def pending(self) -> bool:
        """Whether there is something to do at once."""
        return bool(len(self._post.inbox) or len(self.service) or self.remote.later or self._actions)

    @property
    def poll_s(self) -> float:
        """Within how many seconds `turn` must be called, whether anything happens or not."""
        return self.settings.timing.poll_s / 2

    @property
    def space(self) -> GroupSpace | None:
        """Room for this driver's requests in its group; None while it serves alone."""
        return self._changes.space

    @property
    def grouped(self) -> bool:
        """Whether this instance holds a part of the layers only."""
        return len(self.member.group) > 1

    def turn(self) -> bool:
        """Do what is due between two steps; returns whether the engine may plan the next one."""
        if self._nothing_due():
            return True
        self._receive()
        self._tick()
        self._carry_out()
        if not self._plans_first():
            self._compute()
        self._drained()
        self._leave_if_plain()
        if self._waiting and self._clock() - self._waiting_since > self.settings.entry_s:
            self._do(self.member.broke(self._clock(), self._changes.epoch))
            self._waiting.clear()
            self._carry_out()
        return self._may_plan

    @property
    def _may_plan(self) -> bool:
        return not (self.member.draining or self._waiting or self.member.phase is Phase.RECOVERING)

    def _plans_first(self) -> bool:
        """Whether this driver sends what is ready before it computes for others, as a stage may wait for that; but no
        two times in a row.
        """
        pipeline = self._changes.pipeline
        first = pipeline is not None and self._may_plan and not self._put_off and self._it.loop.scheduler.ready() > 0
        self._put_off = first
        return first

    def _compute(self) -> bool:
        self._put_off = False
        return self._background(self.service.step())

    def _nothing_due(self) -> bool:
        """Whether this instance serves alone, and no message and no poll is due: it does so between most steps."""
        alone = self._changes.space is None and self._changes.fetcher is None and self.member.phase is Phase.SOLO
        if not alone or self.pending or self._cut or self._lost or self._waiting or self.member.draining:
            return False
        return not self._draining and self._clock() - self._polled < self.settings.timing.poll_s

    def work(self) -> None:
        """Do something, or wait a little: while a microbatch of this instance's is in flight."""
        if not self.serve():
            self._wait()

    def rested(self, began_s: float) -> None:
        """Take note that this instance has waited since then."""
        if self.grouped:
            self.telemetry.rested(began_s, self._clock())

    def serve(self) -> bool:
        """Do what is due while a microbatch of this instance's is in flight; false if that is nothing."""
        came = self._receive()
        self._tick()
        pipeline = self._changes.pipeline
        if came and pipeline is not None and pipeline.ended:
            # Whoever waits for it goes on first.
            return True
        return self._compute() or came

    def check(self) -> None:
        """Raise IntegrityError or ElasticServingError unless pages are held as they must be, here and in quotas."""
        tree = self._it.model.space.tree
        self._it.model.tables.check(tree.uses() if tree else None)
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
        began_s = self._clock()
        received = self._post.inbox.take(WAIT_S, Lane.EXCHANGE)
        self.rested(began_s)
        if received is not None:
            self._handle(received)

    def _handle(self, received: Received) -> None:
        message, peer = received.message, received.peer
        if message is None:
            # Who can be reached is looked at in `_tick`, where a link that stands anew must not hide this.
            self._cut.add(peer)
            return
        try:
            self._dispatch(peer, received, message)
        except Exception as error:
            # Another instance's trouble is not that of the requests here.
            self._warn("message not handled", kind=message.kind, peer=peer, exc_info=error)

    def _dispatch(self, peer: str, received: Received, message: Message) -> None:
        fields, now, changes = message.fields, self._clock(), self._changes
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
            case "done" if changes.pipeline:
                changes.pipeline.done(int(fields["number"]), message.tensors["hidden"])
            case "failed" if changes.pipeline:
                self.service.forget(self.me)
                changes.pipeline.failed(int(fields["number"]), str(fields["reason"]))
            case "give up":
                self.service.give_up(peer, int(fields["epoch"]), int(fields["number"]))
            case "part":
                expected = changes.space is not None and int(fields["epoch"]) == changes.epoch
                deliveries.take_part(self._it, message, expected=expected)
            case "arrived" if changes.mover and changes.pipeline:
                piece, gathered = str(fields["piece"]), str(fields["gathered"])
                changes.mover.arrived(piece, int(fields["first"]), changes.pipeline.submitted, peer, gathered)
            case "refused" if changes.mover:
                changes.mover.refused(str(fields["piece"]))
            case "weights":
                deliveries.send_weights(self._it, peer, message)
            case "slice" if changes.fetcher:
                changes.fetcher.take(peer, int(fields["layer"]), int(fields["offset"]), message.tensors.get("content"))

    def _of_plan(self, received: Received, message: Message) -> None:
        """Handle what belongs to a plan: now, when it is entered, or never."""
        epoch, peer = int(message.fields["epoch"]), received.peer
        coming = self.member.ahead(epoch) or epoch == self.member.epoch
        if epoch > self._changes.epoch and (coming or message.kind != "run"):
            # Who was told first to change over does not wait: this instance hears of it, or does it, in a moment.
            self._early.append(received)
            return
        if message.kind == "trim":
            deliveries.trim_here(self._it, message, cut_since=epoch < self._changes.epoch)
            return
        if message.kind == "move":
            deliveries.send_part(self._it, peer, message)
            return
        if epoch != self._changes.epoch or (message.kind == "run" and self.member.stale(epoch)):
            if message.kind == "run":
                self._post.try_send(peer, Lane.CONTROL, Message("stale", {"epoch": epoch}))
            return
        match message.kind:
            case "run":
                self.service.add(Microbatch.from_message(message))
            case "entered":
                self.quotas.entered(peer, message)
            case "offer" if self.space is not None:
                self.quotas.offered(peer, message, self.space, wanted_pages(self._it, self.space).get(peer, 0))
                self._waiting.discard(peer)
            case "answer":
                self.quotas.answered(peer, message)

    # Time

    def _tick(self) -> None:
        now = self._clock()
        cut, self._cut = self._cut, set()
        if cut & set(self._peers):
            self._reach(now, tuple(name for name in self._peers if name not in cut))
        self._reach(now, self._post.peers)
        if now - self._polled < self.settings.timing.poll_s:
            return
        self._polled = now
        look(self._it)
        if self._still_rests(now):
            return
        self._reported = now
        self._do(self.member.tick(now, report_of(self._it, self.member.group, settled=self._settled())))
        if self.space is not None and self.member.phase is not Phase.RECOVERING:
            self.quotas.tell(self.space, wanted_pages(self._it, self.space), self._changes.epoch)
            self.quotas.offer(self._changes.epoch)

    def _still_rests(self, now: float) -> bool:
        """Whether the last report says that there is nothing to say, and it is still so."""
        alone = self.member.phase is Phase.SOLO and not self.grouped and self.space is None and self._settled()
        before, self._resting = self._resting, ()
        if not alone or not rests(self._it):
            return False
        self._resting = (self._peers, self.member.epoch, self.member.seen)
        due = now - self._reported >= self.settings.timing.rest_s or self.coordinator.due
        return before == self._resting and not due

    def _reach(self, now: float, peers: tuple[str, ...]) -> None:
        """Take note of who can be reached."""
        if peers == self._peers:
            return
        gone, self._peers = set(self._peers) - set(peers), peers
        for name in gone:
            self._gone(name)
        self._do(self.member.peers(now, peers))

    def _gone(self, name: str) -> None:
        self.store.forget([name])
        self.service.forget(name)
        self.quotas.forget(name)
        if self._changes.fetcher is not None:
            self._changes.fetcher.lost(name)
        if self.space is not None:
            self._lost |= {request for request in self.space.names if name in self.space.holders(request)}

    def _do(self, actions: list[Action]) -> None:
        """Send at once; keep for between two steps what changes this instance."""
        for action in actions:
            if isinstance(action, Send):
                message = Message("protocol", {"kind": action.kind, "fields": action.fields})
                self._post.try_send(action.to, Lane.CONTROL, message)
                continue
            if isinstance(action, Recover) and self._changes.pipeline is not None:
                dead = ", ".join(action.dead) or "a stage"
                self._changes.pipeline.break_off(f"the group lost {dead}")
            self._actions.append(action)

    def _carry_out(self) -> None:
        while self._actions:
            match self._actions.popleft():
                case Drain():
                    self._draining = True
                case Enter(plan, _):
                    self._enter(plan)
                case Fetch(plan):
                    self._fetch_epoch = plan.epoch
                    self._changes.fetch(stage_of(plan.group_of(self.me), self.me).layers, self.member.group)
                case Resume():
                    self._changes.give_up_fetched(self.member.group)
                case Recover() as action:
                    self._recover(action)
                case Compress():
                    names = self._it.loop.scheduler.running
                    self._it.loop.land()
                    self._it.loop.scheduler.space.relieve(1, names)
        if self._lost:
            lost, self._lost = self._lost, set()
            self._changes.restart(lost)

    # Plans

    def _drained(self) -> None:
        """Say so when nothing of this instance's is under way any more, parts of an exchange included."""
        if not self._draining:
            return
        self._it.loop.land()
        if not self.member.draining:
            self._draining = False
        elif self._changes.mover is None or not self._changes.mover.moving:
            self._draining = False
            self._do(self.member.drained())

    def _enter(self, plan: Plan) -> None:
        """Change over, tell all stages what this driver has there and wants, and wait for what it may use."""
        group = self.member.group
        space = self._changes.enter(plan, group)
        members = {stage.instance for stage in group}
        self.quotas.begin(members)
        self._waiting, self._waiting_since = members, self._clock()
        self.quotas.announce(space, wanted_pages(self._it, space), plan.epoch)
        early, self._early = self._early, []
        for received in early:
            self._handle(received)

    def _recover(self, action: Recover) -> None:
        self._early.clear()
        self._waiting.clear()
        self._lost.clear()
        self._changes.recover(action.group, action.dead)

    def _leave_if_plain(self) -> None:
        alone = not self.grouped and self.member.phase is Phase.SOLO
        if alone and not self.member.draining and not self._waiting:
            self._changes.leave_if_plain()

    # Work

    def _background(self, computed: bool) -> bool:
        """Do something that can wait: once after every microbatch, so that it is not put off for ever."""
        received = self._post.inbox.take(0.0, Lane.EXCHANGE)
        if received is not None:
            self._handle(received)
            return True
        mover, pipeline = self._changes.mover, self._changes.pipeline
        if mover is not None and pipeline is not None:
            mover.settle(pipeline.answered)
            if not self._waiting and not self.member.draining and mover.step(self._clock(), self._post.busy):
                return True
        return self._fetch_step() or computed

    def _fetch_step(self) -> bool:
        fetcher = self._changes.fetcher
        if fetcher is None:
            return False
        went = fetcher.step()
        if not fetcher.done:
            return went
        self._changes.show_layers()
        self.telemetry.fetched_layers += fetcher.from_peers
        self.telemetry.read_layers += fetcher.from_disk
        fetcher.from_peers = fetcher.from_disk = 0
        if self.member.phase is Phase.RECOVERING:
            self._changes.fetcher = None
            self._do(self.member.recovered())
        else:
            self._do(self.member.fetched(self._fetch_epoch))
        return went

    def _settled(self) -> bool:
        changes = self._changes
        if changes.fetcher is not None or self._waiting:
            return False
        return changes.mover is None or not changes.mover.pending()
