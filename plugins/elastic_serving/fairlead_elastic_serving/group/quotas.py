"""How many pages of a stage each driver may use, so that none asks before each step.

A stage grants pages to drivers, and a driver uses no more than it was granted. What a driver was granted is lowered
only when it has said that it will use no more than that, and only what is lowered, or free, is granted to another:
whatever is delayed or lost on the way, all that may be used fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ElasticServingError


def quotas(capacity: int, held: Mapping[str, int], demand: Mapping[str, int]) -> dict[str, int]:
    """Share a stage's pages among drivers.

    Everybody keeps what it holds. What is free goes to those who ask, in proportion to what they ask for but never more
    than that; what is left then in equal parts.

    Args:
        capacity: pages.
        held: by each driver; together at most ``capacity``.
        demand: pages that each asks for beyond those that it holds.

    Returns:
        pages of each driver in ``held``; their sum is at most ``capacity``.

    Raises:
        ElasticServingError: more is held than there is.
    """
    free = capacity - sum(held.values())
    if free < 0:
        raise ElasticServingError(f"{sum(held.values())} pages are held; accepted: up to {capacity}")
    drivers = sorted(held)
    asked = {driver: max(0, demand.get(driver, 0)) for driver in drivers}
    share = min(1.0, free / sum(asked.values())) if any(asked.values()) else 0.0
    given = {driver: int(asked[driver] * share) for driver in drivers}
    rest = free - sum(given.values())
    for place, driver in enumerate(drivers):
        given[driver] += rest // len(drivers) + (place < rest % len(drivers))
    return {driver: held[driver] + given[driver] for driver in drivers}


@dataclass(frozen=True, slots=True)
class Offer:
    """A stage tells a driver what it may use. Answered by the driver with `Answer` of the same number."""

    number: int
    pages: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A driver tells a stage what it holds itself to: the offer, or what it holds already if that is more."""

    number: int
    pages: int
    held: int
    demand: int


class Ledger:
    """A stage's side: what was granted.

    Args:
        capacity: pages for keys and values.
        drivers: of the group.
    """

    def __init__(self, capacity: int, drivers: Mapping[str, int]) -> None:
        self.capacity = capacity
        self._granted = dict(drivers)
        self._held = dict(drivers)
        self._demand = dict.fromkeys(drivers, 0)
        self._offered: dict[str, Offer] = {}
        self._number = 0
        if self.granted > capacity:
            raise ElasticServingError(f"{self.granted} pages are held; accepted: up to {capacity}")

    @property
    def granted(self) -> int:
        """Pages that drivers may use at this moment, all together; never above the capacity."""
        return sum(self._granted.values())

    def granted_to(self, driver: str) -> int:
        """Return what a driver may use at most, whatever it has heard of."""
        return self._granted.get(driver, 0)

    def resize(self, capacity: int) -> bool:
        """Change the capacity, if all that is granted fits; else lower the grants first (see `offers`)."""
        if self.granted > capacity:
            return False
        self.capacity = capacity
        return True

    def offers(self, capacity: int | None = None, *, first: bool = False) -> dict[str, Offer]:
        """Return what each driver is to be told now; those whose last offer is not answered are left out.

        Args:
            capacity: pages to share; less than the capacity where some will be needed otherwise. None: all.
            first: whether drivers are told even where nothing changes, as they have not heard of it yet.
        """
        target = self.capacity if capacity is None else min(capacity, self.capacity)
        held = {driver: min(self._held[driver], self._granted[driver]) for driver in self._granted}
        wanted = quotas(max(target, sum(held.values())), held, self._demand)
        found: dict[str, Offer] = {}
        # Lower first: what is given back is granted with a later offer.
        for driver, pages in sorted(wanted.items(), key=lambda item: item[1] - self._granted[item[0]]):
            more = max(0, target - self.granted)
            pages = min(pages, self._granted[driver] + more)
            if driver in self._offered or (pages == self._granted[driver] and not first):
                continue
            self._number += 1
            found[driver] = self._offered[driver] = Offer(self._number, pages)
            # A raise holds from now on, as the driver may hear of it at any time.
            self._granted[driver] = max(self._granted[driver], pages)
        return found

    def answered(self, driver: str, answer: Answer) -> None:
        """Take a driver's answer to an offer, or its news (number 0); stale ones change nothing but its news."""
        if driver not in self._granted:
            return
        self._held[driver], self._demand[driver] = answer.held, answer.demand
        offer = self._offered.get(driver)
        if offer is not None and offer.number == answer.number:
            del self._offered[driver]
            self._granted[driver] = min(self._granted[driver], max(offer.pages, answer.pages))

    def forget(self, driver: str) -> None:
        """Drop a driver that is gone, with all that it was granted."""
        for known in (self._granted, self._held, self._demand, self._offered):
            known.pop(driver, None)


class Allowance:
    """A driver's side, for one stage: what it may use there, and what it uses."""

    def __init__(self, pages: int = 0) -> None:
        self.pages = pages
        self.used = 0

    @property
    def free(self) -> int:
        """Pages that may be used still."""
        return self.pages - self.used

    def take(self, pages: int) -> None:
        """Use some, or give some back where negative; raises ElasticServingError beyond the allowance."""
        if pages > self.free or self.used + pages < 0:
            raise ElasticServingError(f"{pages} pages; accepted: {-self.used} to {self.free}")
        self.used += pages

    def told(self, offer: Offer, demand: int) -> Answer:
        """Take an offer; it is never below what is used."""
        self.pages = max(offer.pages, self.used)
        return Answer(offer.number, self.pages, self.used, demand)
