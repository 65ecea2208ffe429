"""Regions of other processes: of memory nodes over TCP and by one-sided reads, and in shared memory."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from fairlead_kernels.vector_tiers import TIMEOUT, Tier, memory_tier, serving

from .connection import Connection, read_token
from .lent_memory import map_file, ring_path, shared_path
from .local import reserve
from .region import Region, RegionUrlError, TierError, TierLost


class LentRegion(Region):
    """A region that a memory node lends. With a size it is asked for and its lease renewed; else it must be there.

    Args:
        url: names it.
        kind: ``memory`` (reads over TCP), ``ucx`` (one-sided reads over what UCX finds: RDMA, shared memory, TCP) or
            ``process`` (one-sided reads on the node's own machine).
        host: of the memory node.
        port: likewise.
        name: the region's.
        size: in bytes; None: as it is.
        token_file: of the node's token; else the environment has it.
        timeout: seconds that a batch may take.
        lease_s: of the lease; None: as long as the node allows.
    """

    def __init__(
        self,
        url: str,
        kind: str,
        host: str,
        port: int,
        name: str,
        size: int | None = None,
        *,
        token_file: str | None = None,
        timeout: float = TIMEOUT,
        lease_s: float | None = None,
    ) -> None:
        self._where, self._name, self._timeout = (host, port), name, timeout
        self._token = read_token(url, token_file)
        self._ended = threading.Event()
        if kind == "ucx" and serving().ucx_missing():
            raise RegionUrlError(f"{url}: {serving().ucx_missing()}")
        self.url = url
        control = self._connect()
        try:
            wanted = {} if lease_s is None else {"lease_s": lease_s}
            opened = control.ask(
                region=name, **({"op": "open"} if size is None else {"op": "lend", "size": size, **wanted})
            )
        finally:
            control.close()
        self.opened = opened
        super().__init__(url, kind, int(opened["size"]))
        self._renews = size is not None and opened["lease_s"] is not None
        if self._renews:
            threading.Thread(target=self._renew, args=(float(opened["lease_s"]),), daemon=True).start()

    def _connect(self) -> Connection:
        return Connection(self.url, *self._where, self._token, self._timeout)

    def _ask(self, **message: Any) -> dict[str, Any]:
        control = self._connect()
        try:
            return control.ask(**message)
        finally:
            control.close()

    def _renew(self, lease_s: float) -> None:
        while not self._ended.wait(lease_s / 3):
            with contextlib.suppress(TierError):  # the next try, or a read, says what is wrong
                self._ask(op="renew", region=self._name)

    def open_native(self) -> Tier:
        """Return a tier object for one searching thread."""
        native = serving()
        if self.kind == "process":
            process, address, *guard = (
                self.opened[name] for name in ("pid", "address", "guard_address", "guard_value")
            )
            return native.process_tier(self.url, process, address, self.size, *guard, self._timeout)
        connection = self._connect()
        try:
            if self.kind == "ucx":
                return self._open_ucx(native, connection)
            connection.ask(op="open", region=self._name)
        except TierError:
            connection.close()
            raise
        return native.tcp_tier(self.url, connection.detach(), self.size, self._timeout)

    def _open_ucx(self, native: Any, connection: Connection) -> Tier:
        seen = connection.ask(op="open", region=self._name, ucx=True)
        keys = bytes.fromhex(seen["ucx_address"]), bytes.fromhex(seen["ucx_key"])
        return native.ucx_tier(self.url, *keys, seen["address"], self.size, connection.detach(), self._timeout)

    def statistics(self) -> dict[str, Any]:
        """Return the memory node's."""
        return self._ask(op="statistics")

    def close(self) -> None:
        """Give the region back, where it was asked for here."""
        if not self.closed and self._renews:
            self._ended.set()
            with contextlib.suppress(TierError):  # then the lease runs out
                self._ask(op="free", region=self._name)
        super().close()


class ProcessRegion(Region):
    """Memory at an address of a process of the same user."""

    def __init__(self, url: str, process: int, address: int, size: int, timeout: float = TIMEOUT) -> None:
        super().__init__(url, "process", size)
        self._place, self._timeout = (process, address), timeout
        self.open_native()

    def open_native(self) -> Tier:
        """Return a tier object for one searching thread."""
        return serving().process_tier(self.url, *self._place, self.size, 0, 0, self._timeout)


class SharedRegion(Region):
    """Shared memory of this machine.

    Args:
        url: names it.
        name: of a memory node's shared region, or of one that is made here (then it goes when it is closed).
        size: in bytes; makes it where it is missing.
        delay_us: ask the memory node's ring, which answers after this delay; None: load directly.
        timeout: seconds that a batch may take.
    """

    def __init__(
        self, url: str, name: str, size: int | None = None, *, delay_us: float | None = None, timeout: float = TIMEOUT
    ) -> None:
        path = shared_path(name)
        self._made = size is not None and not path.exists()
        super().__init__(url, "shm", reserve(url, path, size))
        self._path, self._name, self._delay, self._timeout = path, name, delay_us, timeout
        try:
            self._memory = map_file(path, self.size, make=False)
            self._ring = None if delay_us is None else self._map_ring()
        except OSError as error:
            raise TierLost(f"{url}: {path} cannot be mapped: {error}", url) from error

    def _map_ring(self) -> Any:
        ring = ring_path(self._name)
        if not ring.is_file():
            raise RegionUrlError(f"{self.url}: a delay needs a memory node that lends {self._path.name} (--shared)")
        return map_file(ring, min(ring.stat().st_size, serving().RING_BYTES), make=False)

    def open_native(self) -> Tier:
        """Return a tier object for one searching thread."""
        if self._ring is None:
            return memory_tier(self.url, self._memory)
        return serving().shared_tier(self.url, self._memory, self._ring, (self._delay or 0.0) * 1e-6, self._timeout)

    def close(self) -> None:
        """Remove it, where it was made here."""
        if not self.closed and self._made:
            self._path.unlink(missing_ok=True)
        super().close()
