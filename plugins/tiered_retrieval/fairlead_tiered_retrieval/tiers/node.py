"""A memory node: a process that lends regions of its memory to whoever proves that they know its token."""

from __future__ import annotations

import hmac
import json
import logging
import math
import secrets
import threading
import time
from typing import Any

from fairlead_kernels.vector_tiers import serving

from ..errors import TieredRetrievalError
from .leases import Lease, LeaseError, Leases
from .lent_memory import Guards, LentMemory

log = logging.getLogger(__name__)
PROTOCOL = 1
Answer = tuple[bytes, Any, bool]


class RefusedError(TieredRetrievalError):
    """A connection may not go on."""


def proof(token: str, nonce: str) -> str:
    """Return what shows that one knows the token without saying it: HMAC-SHA-256 of the node's nonce."""
    return hmac.new(token.encode(), nonce.encode(), "sha256").hexdigest()


class MemoryNode:
    """Lends regions; `start` serves in threads of this process until `stop`.

    Args:
        capacity: bytes that may be lent in all.
        token: what clients must know; 16 characters at least.
        host: to listen at.
        port: 0: any.
        lease_s: seconds that a lease may last without being renewed.
        shared: regions lie in shared memory, where clients on this machine can read them, too.
        connections: at a time.
    """

    def __init__(
        self,
        capacity: int,
        token: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        lease_s: float = 60.0,
        shared: bool = False,
        connections: int = 1024,
    ) -> None:
        if len(token) < 16:
            raise TieredRetrievalError("token: must have 16 characters at least")
        if not (capacity > 0 and 0 < lease_s < math.inf):
            raise TieredRetrievalError("capacity, lease_s: must be above 0")
        self._token, self._shared, self._host = token, shared, host
        self._leases: Leases[LentMemory] = Leases(capacity, lease_s)
        self._guards = Guards()
        self._lock = threading.Lock()
        self._nonces: dict[int, str] = {}
        self._known: set[int] = set()
        self._wrong_tokens = 0
        self._stopped = threading.Event()
        self._ucx: Any = None
        self._final: dict[str, int] = {}
        self._server: Any = serving().RegionServer(host, port, connections, self._handle)
        self.port: int = self._server.port
        self._threads = [
            threading.Thread(target=self._server.serve, name="memory node", daemon=True),
            threading.Thread(target=self._expire, name="leases", daemon=True),
        ]

    def start(self) -> MemoryNode:
        """Serve."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Give everything back."""
        self._stopped.set()
        self._server.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._threads.clear()
        with self._lock:
            for name in self._leases.names():
                self._leases.remove(name).held.end()
        self._ucx = None
        self._final = self._server.statistics
        self._server = None  # it holds our handler, and we hold it

    def __enter__(self) -> MemoryNode:
        return self.start()

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def lend(self, name: str, size: int, lease_s: float = math.inf) -> LentMemory:
        """Lend a region from within; without a lease until the node stops.

        Raises:
            LeaseError: it cannot be lent.
        """
        with self._lock:
            return self._lend(name, size, lease_s).held

    def statistics(self) -> dict[str, Any]:
        """Return what is lent, read, written and refused."""
        with self._lock:
            regions = {name: self._leases.get(name) for name in self._leases.names()}
            now = time.monotonic()
            return {
                "capacity_bytes": self._leases.capacity,
                "lent_bytes": self._leases.used,
                "wrong_tokens": self._wrong_tokens,
                **(self._final if self._server is None else self._server.statistics),
                "regions": {name: _described(lease, now) for name, lease in regions.items()},
            }

    def _lend(self, name: str, size: int, lease_s: float) -> Lease[LentMemory]:
        self._leases.check(name, size, self._leases.longest if math.isinf(lease_s) else lease_s)
        try:
            held = LentMemory(name, size, self._guards, self._shared)
        except (OSError, RuntimeError, MemoryError) as error:
            raise LeaseError(f"region {name}: {size} bytes cannot be had: {error}") from error
        log.info("region %s of %d bytes is lent", name, size)
        return self._leases.add(name, size, held, lease_s, time.monotonic())

    def _expire(self) -> None:
        while not self._stopped.wait(min(1.0, self._leases.longest / 4)):
            with self._lock:
                for name in self._leases.over(time.monotonic()):
                    log.warning("region %s: its lease ran out", name)
                    self._leases.remove(name).held.end()

    def _handle(self, connection: int, text: bytes, ended: bool) -> Answer:
        if ended:
            self._nonces.pop(connection, None)
            self._known.discard(connection)
            return b"", None, True
        try:
            message = json.loads(text)
            if not isinstance(message, dict):
                raise RefusedError("a control message must be an object")
            with self._lock:
                answer, region = self._answer(connection, message)
            return json.dumps(answer).encode(), region, False
        except LeaseError as error:
            return json.dumps({"error": str(error)}).encode(), None, False
        except (ValueError, TypeError, KeyError) as error:
            return json.dumps({"error": f"refused: {error}"}).encode(), None, True

    def _answer(self, connection: int, message: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        asked = message.get("op")
        if asked == "hello":
            self._nonces[connection] = secrets.token_hex(16)
            return {"nonce": self._nonces[connection], "protocol": PROTOCOL}, None
        if asked == "prove":
            self._prove(connection, str(message.get("proof")))
            return {}, None
        if connection not in self._known:
            raise RefusedError("the token must be proven first")
        if asked == "statistics":
            return self._statistics_within(), None
        return self._regions(str(asked), str(message["region"]), message)

    def _prove(self, connection: int, said: str) -> None:
        nonce = self._nonces.pop(connection, None)
        if nonce is None or not hmac.compare_digest(said.encode(), proof(self._token, nonce).encode()):
            self._wrong_tokens += 1
            raise RefusedError("the token is wrong")
        self._known.add(connection)

    def _regions(self, asked: str, name: str, message: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        if asked == "lend":
            self._ensure(name, int(message["size"]), float(message.get("lease_s", self._leases.longest)))
        elif asked == "free":
            self._leases.remove(name).held.end()
            return {}, None
        elif asked == "renew":
            return {"lease_s": self._leases.renew(name, time.monotonic()).length}, None
        elif asked != "open":
            raise RefusedError(f"op {asked!r}: accepted: hello, prove, lend, open, renew, free, statistics")
        lease = self._leases.get(name)
        if message.get("ucx"):
            return {"size": lease.size, **self._offered(lease.held)}, lease.held.lent
        length = None if math.isinf(lease.length) else lease.length
        opened = {"size": lease.size, "lease_s": length, "shared": self._shared, **lease.held.place()}
        return opened, lease.held.lent

    def _offered(self, held: LentMemory) -> dict[str, Any]:
        if self._ucx is None:
            try:
                self._ucx = serving().UcxNode()
            except RuntimeError as error:
                raise LeaseError(f"one-sided reads by UCX: {error}") from error
        key: bytes = held.offer(self._ucx)
        return {"ucx_address": self._ucx.address.hex(), "ucx_key": key.hex(), "address": held.memory.address}

    # Who asks for a region of the same name and size gets it, its lease renewed: a restarted worker finds its bytes.
    def _ensure(self, name: str, size: int, lease_s: float) -> None:
        if not math.isfinite(lease_s):
            raise LeaseError(f"region {name}: lease_s {lease_s}: above 0, at most {self._leases.longest}")
        if name in self._leases.names() and self._leases.get(name).size == size:
            self._leases.renew(name, time.monotonic())
        else:
            self._lend(name, size, lease_s)

    def _statistics_within(self) -> dict[str, Any]:
        now = time.monotonic()
        names = self._leases.names()
        return {
            "capacity_bytes": self._leases.capacity,
            "lent_bytes": self._leases.used,
            "regions": {name: _described(self._leases.get(name), now) for name in names},
        }


def _described(lease: Lease[LentMemory], now: float) -> dict[str, Any]:
    left = None if math.isinf(lease.until) else round(lease.until - now, 3)
    return {"size": lease.size, "lease_left_s": left, **lease.held.statistics()}
