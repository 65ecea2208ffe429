"""Feed-forward layers whose neurons lie in a bundle file, with a cache of slots in memory (PowerInfer-2, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import extension
from fairlead_kernels.checks import activation_code, array_of, threshold_value
from fairlead_kernels.ops_packed import packed_matrix
from fairlead_kernels.packed import PackedMatrix, packed_row_bytes
from fairlead_kernels.predictor import Predictor
from fairlead_kernels.reference_store import ReferenceStore
from fairlead_kernels.work import Work

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

#: What devices and file systems read whole.
BLOCK_BYTES = 4096
#: What hot groups and prompts read at once: beyond it devices gain nothing.
LARGE_READ_BYTES = 256 * 1024
#: Such reads that have a buffer each.
LARGE_READS = 4


@dataclass(frozen=True, slots=True)
class BundleShape:
    """How bundles lie in a file, and what of them is cached.

    Attributes:
        hidden: columns of the three matrices, a multiple of 32.
        bits: 4 or 8 a weight.
        cluster_neurons: bundles of a cluster, which is read at once and fills a slot.
        cluster_bytes: bytes of a cluster in the file, a multiple of 4096.
        networks: (offset in the file, neurons, how many of the first ones are hot) of each network.
        resident_gates: slots hold up and down rows only; each layer is given its gate rows.
        matrices: 3 rows a bundle (gate, up, down), or 2 of networks without gate (OPT: fc1 in place of the gate, down).
    """

    hidden: int
    bits: int
    cluster_neurons: int
    cluster_bytes: int
    networks: tuple[tuple[int, int, int], ...]
    resident_gates: bool = False
    matrices: int = 3

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot in memory: a cluster without its padding."""
        return self.cluster_neurons * (self.matrices - self.resident_gates) * packed_row_bytes(self.hidden, self.bits)

    @property
    def total_slots(self) -> int:
        """Slots that hold every neuron."""
        return sum(-(-neurons // self.cluster_neurons) for _, neurons, _ in self.networks)

    @property
    def full_slots(self) -> int:
        """Slots beyond which nothing is gained: every neuron, and the down rows of a network that a prompt needs."""
        most = max(neurons for _, neurons, _ in self.networks)
        return self.total_slots + -(-most * packed_row_bytes(self.hidden, self.bits) // self.slot_bytes)

    @property
    def group(self) -> int:
        """Clusters of a hot group, and of one read of a prompt's pass."""
        return max(1, LARGE_READ_BYTES // self.cluster_bytes)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a store reads and divides its slots.

    Attributes:
        hot_share: share of the slots that the hot region may take.
        depth: reads in flight.
        run: the most neighbouring clusters that become one read, those in small gaps between missing ones included.
        threads: threads that call pread where io_uring cannot be had.
        direct: read past the page cache where the file system can.
        uring: use io_uring where it can be had.
        broken: (begin, end) of bytes whose reads fail as those of bad blocks do, to test what follows.
    """

    hot_share: float = 0.5
    depth: int = 128
    run: int = 8
    threads: int = 4
    direct: bool = True
    uring: bool = True
    broken: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.hot_share <= 1:
            raise ValueError(f"hot_share: must be 0..1, got {self.hot_share}")
        for name, most in (("depth", 1024), ("run", 64), ("threads", 256)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name}: must be 1..{most}, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What the extension's store takes beside the shape."""

    slots: int
    hot_slots: int
    group: int
    run: int
    depth: int
    threads: int
    direct: bool
    uring: bool
    broken: tuple[tuple[int, int], ...]


class NeuronStore:
    """Slots of memory that hold a part of a bundle file's neurons, shared by the layers that it makes.

    The slots are all the memory that grows with use; `buffer_bytes` and the buffers of prompts are fixed. Layers of
    one store compute one after the other, as those of a decoder do; `resize` between two of its calls.
    """

    def __init__(self, path: Path, shape: BundleShape, slots: int, options: StreamOptions | None = None) -> None:
        """Open the file; nothing is read yet.

        Raises:
            ValueError: the shape is impossible, or no slot is given.
            OSError: the file cannot be opened, or is shorter than the networks.
        """
        self.shape, self.options = shape, StreamOptions() if options is None else options
        if slots < 1:
            raise ValueError(f"slots: must be at least 1, got {slots}")
        module = extension()
        kind: Any = ReferenceStore if module is None else module.BundleStore
        self._native = module is not None
        self._store = kind(str(path), shape, self._sizes(slots))

    def _sizes(self, slots: int) -> _Sizes:
        o = self.options
        return _Sizes(slots, self._hot(slots), self.shape.group, o.run, o.depth, o.threads, o.direct, o.uring, o.broken)

    def _hot(self, slots: int) -> int:
        return int(min(slots, self.shape.total_slots) * self.options.hot_share)

    @property
    def slots(self) -> int:
        """Slots at this size, at most `shape.full_slots`; those beyond `shape.total_slots` are for prompts."""
        return int(self._store.slots)

    @property
    def used(self) -> int:
        """Slots that hold a cluster."""
        return int(self._store.used)

    @property
    def guesses(self) -> tuple[int, int]:
        """Clusters that were asked for before a layer's attention, and those of them that were then needed."""
        asked, needed = self._store.guesses
        return int(asked), int(needed)

    @property
    def engine(self) -> str:
        """How the file is read: "io_uring" or "pread", and "direct" or "cached"."""
        return f"{self._store.engine} {'direct' if self._store.direct else 'cached'}"

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the buffers that reads go to; the process holds them from the beginning."""
        # A bundle of several blocks is read in two phases, and alone.
        alone = self.shape.cluster_neurons == 1 and self.shape.cluster_bytes > BLOCK_BYTES
        run = 1 if alone else min(self.options.run, max(1, LARGE_READ_BYTES // self.shape.cluster_bytes))
        small = self.options.depth * run * self.shape.cluster_bytes
        return small + LARGE_READS * self.shape.group * self.shape.cluster_bytes

    def pass_bytes(self, tokens: int) -> int:
        """Return the bytes of the buffers of a prompt of so many tokens; its rows take the place of some slots."""
        return 2 * 4 * tokens * max(neurons for _, neurons, _ in self.shape.networks)

    def resize(self, slots: int) -> None:
        """Change the number of slots; the most valuable clusters stay, and memory goes back to the system at once.

        Raises:
            ValueError: no slot is left.
        """
        if slots < 1:
            raise ValueError(f"slots: must be at least 1, got {slots}")
        self._store.resize(slots, self._hot(slots))

    def feed_forward(
        self,
        network: int,
        order: I32,
        activation: str,
        *,
        gates: PackedMatrix | None = None,
        predictor: Predictor | None = None,
        threshold: float = 0.0,
        gate_bias: F32 | None = None,
        down_bias: F32 | None = None,
    ) -> StreamedFeedForward:
        """Return the feed-forward source of one network.

        Args:
            network: its index in the shape.
            order: int32 [neurons], the neuron at each place of the file.
            activation: "drelu", "relu", "swiglu" or "geglu".
            gates: packed [neurons, hidden] in the order of neurons; given exactly where the shape says so.
            predictor: chooses the neurons of single tokens; without one every gate is computed.
            threshold: what a gate's magnitude must exceed for its neuron to be active.
            gate_bias, down_bias: float32 [neurons] and [hidden] that are added to gates and to the result, or None.

        Raises:
            ValueError: an argument does not fit; names it.
        """
        neurons = self.shape.networks[network][1]
        array_of("order", order, np.int32, (neurons,))
        if (gates is not None) != self.shape.resident_gates:
            raise ValueError("gates: must be given exactly where the shape has resident_gates")
        if gates is not None:
            packed_matrix("gates", gates, neurons, self.shape.hidden)
        if predictor is not None:
            predictor.check(self.shape.hidden, neurons, "predictor")
        for name, bias, size in (("gate_bias", gate_bias, neurons), ("down_bias", down_bias, self.shape.hidden)):
            if bias is not None:
                array_of(name, bias, np.float32, (size,))
        biases = (gate_bias, down_bias)
        made = StreamedFeedForward(order, activation, gates, predictor, threshold_value(threshold), biases)
        made.bind(self._store, network, self._native)
        return made


class StreamedFeedForward:
    """One layer of a store: a `FeedForwardSource`. Results have the bits of the same rows in memory."""

    def __init__(
        self,
        order: I32,
        activation: str,
        gates: PackedMatrix | None,
        predictor: Predictor | None,
        threshold: float,
        biases: tuple[F32 | None, F32 | None] = (None, None),
    ) -> None:
        self._code = activation_code(activation)
        self._order, self._activation, self._gates = order, activation, gates
        self._predictor, self._threshold, self._biases = predictor, threshold, biases

    def bind(self, store: Any, network: int, native: bool) -> None:
        """Attach to the backend's store; done once, by the store that makes this."""
        self._store, self._network = store, network
        self._made = None
        if native:
            module: Any = extension()
            self._made = module.streamed_feed_forward(
                store, network, self._order, self._gates, self._predictor, self._code, self._threshold, *self._biases
            )

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return len(self._order)

    @property
    def native(self) -> Any:
        """The extension's object, for the native decoder."""
        if self._made is None:
            raise RuntimeError("this store was made for the NumPy backend")
        return self._made

    def step(self, x: F32, neurons: I32 | None, work: Work) -> tuple[F32, I32]:
        """Compute one token in NumPy; see `FeedForwardSource`."""
        return self._store.step(
            self._network, self._order, self._gates, x, self._activation, self._threshold, neurons, work, self._biases
        )
