"""Quotas between the stages of a group: what this stage grants, and what its driver was granted by the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..arena.page_arena import PageArena
from ..errors import IntegrityError
from ..links.link import Lane, Message
from .post import Post
from .quotas import Answer, Ledger, Offer
from .row_store import RowStore
from .space import GroupSpace


class StageQuotas:
    """Messages and books of one instance; see `quotas`.

    Args:
        arena: of this stage.
        store: what stands there.
        post: sends.
    """

    def __init__(self, arena: PageArena, store: RowStore, post: Post) -> None:
        self._arena, self._store, self._post = arena, store, post
        self._expected: set[str] = set()
        self._entered: dict[str, tuple[int, int]] = {}
        self._ledger: Ledger | None = None
        self._kept_back = 0

    @property
    def capacity(self) -> int:
        """Pages for drivers: all but those of pieces that are to go."""
        used = self._arena.capacity - self._arena.free
        return self._arena.capacity - min(self._store.pages(charged=False), used)

    def begin(self, members: Collection[str]) -> None:
        """Forget everything: a plan was entered by these members."""
        self._expected, self._entered, self._ledger, self._kept_back = set(members), {}, None, 0

    def end(self) -> None:
        """Forget everything: there is no group."""
        self.begin(())

    def announce(self, space: GroupSpace, demand: Mapping[str, int], epoch: int) -> None:
        """Tell all stages which pieces this driver has there, and what it wants."""
        for instance, allowance in space.allowances.items():
            fields = {
                "epoch": epoch,
                "held": allowance.used,
                "charged": space.charged(instance),
                "demand": demand.get(instance, 0),
            }
            self._post.try_send(instance, Lane.CONTROL, Message("entered", fields))

    def entered(self, driver: str, message: Message) -> None:
        """Take what a driver announced; when all have, they are told what they may use."""
        if driver not in self._expected:
            return
        fields = message.fields
        self._store.charge(driver, set(fields["charged"]))
        self._entered[driver] = (int(fields["held"]), int(fields["demand"]))
        if set(self._entered) != self._expected:
            return
        self._ledger = Ledger(self.capacity, {name: held for name, (held, _) in self._entered.items()})
        for name, (held, demand) in self._entered.items():
            self._ledger.answered(name, Answer(0, 0, held, demand))
        self._send(self._ledger.offers(first=True), int(fields["epoch"]))

    def offered(self, stage: str, message: Message, space: GroupSpace, demand: int) -> None:
        """Take an offer of a stage, and answer it."""
        offer = Offer(int(message.fields["number"]), int(message.fields["pages"]))
        if stage in space.allowances:
            answer = space.allowances[stage].told(offer, demand)
            self._answer(stage, answer, int(message.fields["epoch"]))

    def answered(self, driver: str, message: Message) -> None:
        """Take a driver's answer, or its news."""
        fields = message.fields
        if self._ledger is not None:
            answer = Answer(*(int(fields[name]) for name in ("number", "pages", "held", "demand")))
            self._ledger.answered(driver, answer)

    def tell(self, space: GroupSpace, demand: Mapping[str, int], epoch: int) -> None:
        """Tell all stages what this driver uses and wants."""
        for stage, allowance in space.allowances.items():
            self._answer(stage, Answer(0, 0, allowance.used, demand.get(stage, 0)), epoch)

    def offer(self, epoch: int) -> None:
        """Share anew what this stage has."""
        ledger = self._ledger
        if ledger is None:
            return
        # Where there are fewer pages than before (the budget shrank), grants are lowered first.
        ledger.resize(self.capacity)
        self._send(ledger.offers(self.capacity - self._kept_back), epoch)

    def shrink(self, pages: int, epoch: int) -> bool:
        """Take pages away from all drivers' quotas; true once they have agreed to what is left."""
        ledger = self._ledger
        if ledger is None:
            return False
        self._kept_back = pages
        if ledger.resize(self.capacity - pages):
            self._kept_back = 0
            return True
        self.offer(epoch)
        return False

    def keep_all(self) -> None:
        """Keep no pages back any more."""
        self._kept_back = 0

    def forget(self, driver: str) -> None:
        """A driver is gone, and all that it had here."""
        if self._ledger is not None:
            self._ledger.forget(driver)

    def check(self) -> None:
        """Raise IntegrityError where more may be used than there is."""
        if self._ledger is not None and self._ledger.granted > self._ledger.capacity:
            raise IntegrityError(f"{self._ledger.granted} pages are granted; accepted: {self._ledger.capacity}")

    def _send(self, offers: Mapping[str, Offer], epoch: int) -> None:
        for driver, offer in offers.items():
            fields = {"epoch": epoch, "number": offer.number, "pages": offer.pages}
            self._post.try_send(driver, Lane.CONTROL, Message("offer", fields))

    def _answer(self, stage: str, answer: Answer, epoch: int) -> None:
        fields = {
            "epoch": epoch,
            "number": answer.number,
            "pages": answer.pages,
            "held": answer.held,
            "demand": answer.demand,
        }
        self._post.try_send(stage, Lane.CONTROL, Message("answer", fields))
