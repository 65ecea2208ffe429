"""How a store keeps and searches its collections."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import TieredRetrievalError


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Attributes:

    memory_bytes: that indexes, ids and metadata of all collections may take, builds included; None: not limited.
    threads: that search a batch of queries or build an index.
    index_from: vectors of a collection from which on an index is built; below, all are compared.
    log_bytes: of log after which what it holds is made durable elsewhere and the log is cut.
    segment_bytes: of one file of the log.
    save_after: share of an index that changed, after which it is saved again.
    waiting_bytes: of writes that wait, at most; more make their callers wait.
    maintenance_s: between rounds of background work; 0: none runs, `Collection.maintain` does.
    salvage: read over damage in logs in place of refusing to open.
    seed: of samples and builds.
    """

    memory_bytes: int | None = None
    threads: int = 1
    index_from: int = 5_000
    log_bytes: int = 256 << 20
    segment_bytes: int = 64 << 20
    save_after: float = 0.2
    waiting_bytes: int = 64 << 20
    maintenance_s: float = 0.5
    salvage: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("threads", "index_from", "log_bytes", "segment_bytes", "waiting_bytes"):
            if getattr(self, name) < 1:
                raise TieredRetrievalError(f"{name} = {getattr(self, name)}; accepted: 1 and above")
        if self.memory_bytes is not None and self.memory_bytes < 1:
            raise TieredRetrievalError(f"memory_bytes = {self.memory_bytes}; accepted: 1 and above, or none")
        if not self.save_after > 0 or not self.maintenance_s >= 0:
            raise TieredRetrievalError("save_after and maintenance_s: accepted: above 0; 0 and above")
