"""A bundle file behind a cache, in NumPy: the fallback of the native store, and what it means."""

from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_packed
from fairlead_kernels.packed import PackedMatrix, packed_row_bytes
from fairlead_kernels.reference import gate_function, up_function
from fairlead_kernels.reference_cache import REGIONS, ReferenceCache
from fairlead_kernels.work import FIELDS, Work

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]

_AT = {name: index for index, name in enumerate(FIELDS)}


class ReferenceStore:
    """Reads one cluster after the other with pread, through the page cache."""

    engine = "pread"
    direct = False
    #: It computes when all reads are over, so there is nothing to ask for early.
    guesses = (0, 0)

    def __init__(self, path: str, shape: Any, sizes: Any) -> None:
        self._path, self._shape, self._broken = path, shape, sizes.broken
        self._width = packed_row_bytes(shape.hidden, shape.bits)
        self._clusters = max(-(-neurons // shape.cluster_neurons) for _, neurons, _ in shape.networks)
        hot = [count // (shape.cluster_neurons * sizes.group) for _, _, count in shape.networks]
        self.slots = min(sizes.slots, shape.full_slots)
        slots = min(sizes.slots, shape.total_slots)
        layers = len(shape.networks)
        self._cache = ReferenceCache(layers, self._clusters, sizes.group, [], hot, slots, sizes.hot_slots)
        self._slots = np.zeros((slots, shape.cluster_bytes), np.uint8)
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        end = max(o + -(-n // shape.cluster_neurons) * shape.cluster_bytes for o, n, _ in shape.networks)
        if os.fstat(self._file).st_size < end:
            raise OSError(errno.EIO, f"the file ends before offset {end}: truncated?", path)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    @property
    def used(self) -> int:
        """Slots that hold a cluster."""
        return self._cache.used

    def resize(self, slots: int, hot_slots: int) -> None:
        """Change the number of slots."""
        self.slots = min(slots, self._shape.full_slots)
        slots = min(slots, self._shape.total_slots)
        moves = self._cache.resize(slots, hot_slots)
        kept = np.zeros((slots, self._shape.cluster_bytes), np.uint8)
        count = min(slots, len(self._slots))
        kept[:count] = self._slots[:count]
        for source, target in moves:
            kept[target] = self._slots[source]
        self._slots = kept

    def step(
        self,
        network: int,
        order: I32,
        gates: PackedMatrix | None,
        x: F32,
        activation: str,
        threshold: float,
        neurons: I32 | None,
        work: Work,
        biases: tuple[F32 | None, F32 | None] = (None, None),
    ) -> tuple[F32, I32]:
        """Compute one token: (y [hidden], active neurons)."""
        chosen = np.arange(len(order), dtype=np.int32) if neurons is None else neurons
        work[[_AT["predicted"], _AT["computed"]]] += len(chosen)
        q, scale = reference_packed.quantize_activations(x[None])
        place = np.empty_like(order)
        place[order] = np.arange(len(order), dtype=np.int32)
        bundles = None if gates is not None else self._bundles(network, place[chosen], work)
        gate = self._rows(bundles, 0) if gates is None else gates.take(chosen)
        gate_values = reference_packed.multiply_quantized(gate, q, scale)
        if biases[0] is not None:
            gate_values = gate_values + biases[0][chosen]
        weight = gate_function(gate_values, activation, threshold)[0]
        on = np.flatnonzero(weight)
        bundles = self._bundles(network, place[chosen[on]], work) if bundles is None else bundles[on]
        product = weight[on]
        if self._shape.matrices == 3:
            up = reference_packed.multiply_quantized(self._rows(bundles, 1), q, scale)[0]
            product = product * up_function(up, activation)
        work[_AT["active"]] += len(on)
        rows = np.arange(len(on), dtype=np.int32)
        down = self._rows(bundles, self._shape.matrices - 1)
        y = reference_packed.sum_rows_packed(down, rows, product[None])[0]
        return y if biases[1] is None else y + biases[1], chosen[on]

    def _rows(self, bundles: U8 | None, part: int) -> PackedMatrix:
        assert bundles is not None
        columns = np.ascontiguousarray(bundles[:, part * self._width : (part + 1) * self._width])
        return PackedMatrix(columns, self._shape.hidden, self._shape.bits)

    def _bundles(self, network: int, places: I32, work: Work) -> U8:
        """The bundles at some places of a network: uint8 [places, rows of a bundle]."""
        together = self._shape.cluster_neurons
        out = np.empty((len(places), self._shape.matrices * self._width), np.uint8)
        stride = self._shape.cluster_bytes // together
        for index, place in enumerate(places.tolist()):
            slot = self._slot(network, place // together, work)
            start = place % together * stride
            out[index] = self._slots[slot, start : start + out.shape[1]]
        return out

    def _slot(self, network: int, cluster: int, work: Work) -> int:
        item = network * self._clusters + cluster
        slot = self._cache.lookup(item)
        if slot >= 0:
            work[_AT[f"{self._cache.region(item)}_hits"]] += 1
        else:
            work[_AT["misses"]] += 1
            slot = self._cache.admit(item)
            self._read(network, cluster, slot, item, work)
        self._cache.release()
        return slot

    def _read(self, network: int, cluster: int, slot: int, item: int, work: Work) -> None:
        size = self._shape.cluster_bytes
        offset = self._shape.networks[network][0] + cluster * size
        try:
            if any(begin < offset + size and offset < end for begin, end in self._broken):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            content = os.pread(self._file, size, offset)
            if len(content) != size:
                raise OSError(errno.EIO, f"the file ends before {size} bytes at offset {offset}: truncated?")
        except OSError as error:
            self._cache.forget(item)
            raise OSError(error.errno, f"{size} bytes at offset {offset}: {error.strerror}", self._path) from error
        self._cache.arrived(item)
        self._slots[slot] = np.frombuffer(content, np.uint8)
        work[[_AT["reads"], _AT["read_bytes"]]] += (1, size)


assert {f"{region}_hits" for region in REGIONS} <= set(FIELDS)
