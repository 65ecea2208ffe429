"""What every index offers, whatever it is made of and wherever its bytes lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .space import Space

#: Told the share that is done, 0 to 1, now and then; what it raises ends the work.
Told = Callable[[float], None]


class Found(NamedTuple):
    """The nearest vectors of each query, the nearest first.

    Attributes:
        slots: int64 [n, k]; -1 where there are fewer than k.
        distances: float32 [n, k], smaller is nearer (`Space`); infinite where the slot is -1. Exact where `reads`
            counts them, else as good as the index's codes.
        reads: int32 [n]: exact vectors that were read from the tier.
        round_trips: int32 [n]: batches of reads that had to wait for one another.
        tier_bytes: int64 [n]: read from the tier.
        complete: False: a part of the tier did not answer, and its vectors are missing.
    """

    slots: NDArray[np.int64]
    distances: NDArray[np.float32]
    reads: NDArray[np.int32]
    round_trips: NDArray[np.int32]
    tier_bytes: NDArray[np.int64]
    complete: bool = True


class Sizes(NamedTuple):
    """Bytes that an index takes: in the memory of this process, and in its tier."""

    dram_bytes: int
    tier_bytes: int


class Progress(NamedTuple):
    """How far some work is.

    Attributes:
        done: units of work that are done.
        total: units that there are, as far as known; as many as `done`: there is nothing to do.
        doing: what, in words.
    """

    done: int = 0
    total: int = 0
    doing: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.done >= self.total


@dataclass(frozen=True, slots=True)
class Limits:
    """What building an index may take.

    Attributes:
        memory_bytes: that the build may take beside the vectors that it is given, the finished index included; None:
            not limited.
        threads: that compute.
        seed: of everything that is drawn.
    """

    memory_bytes: int | None = None
    threads: int = 1
    seed: int = 0


class Index(Protocol):
    """Vectors by slot. A slot is a small number that the store hands out; each is a bit of a bitmap.

    `search`, `vectors`, `sizes` and `count` may be called by any number of threads while one other changes the index:
    the store makes sure that there is one. Changes are seen by searches that begin after them; a search that is under
    way sees some. A slot that was removed is handed out again only once no search that began before is under way, and
    `busy` does not name it.

    Attributes:
        kind: of index, as the registry has it (``flat``, ``graph``, ``lists``).
        space: of its vectors.
        batched: whether many vectors are added at once for much less than one by one: small additions then wait beside
            the index for others, and go over to it in `add` while `remove` is called by another thread.
    """

    kind: str
    batched: bool
    space: Space

    @property
    def count(self) -> int:
        """Vectors that can be found."""
        ...

    def search(
        self,
        queries: NDArray,
        k: int,
        *,
        recall: float = 0.95,
        allowed: NDArray[np.uint8] | None = None,
        threads: int = 1,
    ) -> Found:
        """Return the nearest k of each query.

        Args:
            queries: [n, columns], as `check_vectors` returns them.
            k: 1 and above; more than there are: the rest of each row is -1.
            recall: to reach on average: effort by what the index measured on a sample of its own vectors.
            allowed: slots that may be found, a bitmap uint8 [bytes]: slot s is bit ``s & 7``, counted from the lowest,
                of byte ``s >> 3`` (``numpy.packbits(..., bitorder="little")``); slots beyond its end may not. None:
                all. An index fills k where it can at a bearable effort; the store scans the rest.
            threads: that share the queries.
        """
        ...

    def add(self, slots: NDArray[np.int64], vectors: NDArray) -> None:
        """Add vectors [n, columns] at slots that are neither in the index nor `busy`. They are found at once."""
        ...

    def remove(self, slots: NDArray[np.int64]) -> None:
        """Remove slots, which are found no more; those that are not there are passed over."""
        ...

    def busy(self) -> NDArray[np.int64]:
        """Return the removed slots that cannot be added again before more of `maintain`."""
        ...

    def vectors(self, slots: NDArray[np.int64]) -> NDArray:
        """Return exact vectors [n, columns], from wherever they lie; raises NotFound for a slot that is not there."""
        ...

    def sizes(self) -> Sizes:
        """Return what the index takes."""
        ...

    def more_bytes(self, count: int) -> int:
        """Return what `count` more vectors would add to `dram_bytes`, at most, growth of its arrays included."""
        ...

    def maintain(self, budget_s: float) -> Progress:
        """Work about so many seconds on what removals and additions have left behind; say what is left."""
        ...

    def calibrate(self, queries: NDArray, true: NDArray[np.int64]) -> None:
        """Measure anew what effort a recall takes, by queries as they come; searches go on meanwhile.

        Args:
            queries: [n, columns], some dozens at least.
            true: [n, 10], slots of the nearest of each, -1 where there are fewer.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the index into an empty folder."""
        ...

    def move(self, region: Any) -> None:
        """Move what lies in the tier to another region (`tiers.Region`) while searches go on.

        Raises:
            TieredRetrievalError: the kind of index has nothing in a tier.
        """
        ...


class IndexKind(Protocol):
    """How indexes of one kind come to be: the classes themselves offer this."""

    kind: str

    @classmethod
    def build(
        cls,
        space: Space,
        slots: NDArray[np.int64],
        vectors: NDArray,
        *,
        limits: Limits = Limits(),
        region: Any = None,
        told: Told | None = None,
        **options: Any,
    ) -> Index:
        """Build an index.

        Args:
            space: of the vectors.
            slots: [n], ascending.
            vectors: all rows of the collection by slot, [at least max(slots) + 1, columns], maybe mapped from a file:
                the row of slot s is ``vectors[s]``. It does not change while the build reads the given slots.
            limits: of memory, threads and chance.
            region: for what lies in the tier; None: this process's memory.
            told: how far the build is.
            options: of the kind, each with a default.

        Raises:
            BudgetExceeded: before anything is allocated, where the limit is too low.
        """
        ...

    @classmethod
    def load(cls, folder: Path, space: Space, *, region: Any = None) -> Index:
        """Read what `save` wrote; raises CorruptFile where it is not that."""
        ...
