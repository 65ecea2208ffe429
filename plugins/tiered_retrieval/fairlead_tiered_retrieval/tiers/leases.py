"""Which regions a memory node lends, to when: pure bookkeeping, time comes in as an argument."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import TieredRetrievalError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
Held = TypeVar("Held")


class LeaseError(TieredRetrievalError):
    """A region cannot be lent, found or given back."""


@dataclass
class Lease(Generic[Held]):
    """A region that is lent: what holds its bytes, its size, and when it ends (infinite: never)."""

    name: str
    size: int
    held: Held
    length: float
    until: float


class Leases(Generic[Held]):
    """Regions by name under one capacity.

    Args:
        capacity: bytes that may be lent in all.
        longest: seconds that a lease may last without being renewed.
    """

    def __init__(self, capacity: int, longest: float) -> None:
        self.capacity, self.longest = capacity, longest
        self._leases: dict[str, Lease[Held]] = {}

    @property
    def used(self) -> int:
        """Bytes that are lent."""
        return sum(each.size for each in self._leases.values())

    def names(self) -> list[str]:
        """Return the names of all regions."""
        return sorted(self._leases)

    def check(self, name: str, size: int, seconds: float) -> None:
        """Refuse what could not be lent now.

        Raises:
            LeaseError: the name is taken or no name, there is no room, or the lease is too long.
        """
        if not NAME.fullmatch(name):
            raise LeaseError(f"region {name!r}: accepted: letters, digits, '.', '_' and '-', 64 at most")
        if name in self._leases:
            raise LeaseError(f"region {name}: is lent already, with {self._leases[name].size} bytes")
        if size <= 0 or size > self.capacity - self.used:
            room = self.capacity - self.used
            raise LeaseError(f"region {name}: size {size}: 1 to {room} bytes are left of {self.capacity}")
        if not 0 < seconds <= self.longest:
            raise LeaseError(f"region {name}: lease_s {seconds}: above 0, at most {self.longest}")

    def add(self, name: str, size: int, held: Held, seconds: float, now: float) -> Lease[Held]:
        """Lend a region that :meth:`check` has passed; infinitely many seconds: until it is removed."""
        lease = self._leases[name] = Lease(name, size, held, seconds, now + seconds)
        return lease

    def get(self, name: str) -> Lease[Held]:
        """Return a region.

        Raises:
            LeaseError: it is not lent.
        """
        lease = self._leases.get(name)
        if lease is None:
            raise LeaseError(f"region {name}: is not lent here (its lease may have run out)")
        return lease

    def renew(self, name: str, now: float) -> Lease[Held]:
        """Let a lease begin anew."""
        lease = self.get(name)
        lease.until = now + lease.length
        return lease

    def remove(self, name: str) -> Lease[Held]:
        """Give a region back."""
        lease = self.get(name)
        del self._leases[name]
        return lease

    def over(self, now: float) -> list[str]:
        """Return the regions whose lease has run out."""
        return [name for name, each in self._leases.items() if each.until <= now]
