"""How bundles share the blocks of a file. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_kernels import packed_row_bytes

#: What a device reads at once, and what O_DIRECT asks offsets, sizes and addresses to be multiples of.
BLOCK = 4096


@dataclass(frozen=True, slots=True)
class BundleLayout:
    """Sizes in bytes of what lies in the file.

    Attributes:
        hidden: columns of the matrices.
        bits: 4 or 8 a weight.
        cluster_neurons: bundles in a cluster, the unit of reading.
        cluster_bytes: a multiple of `BLOCK`; bundles are cluster_bytes / cluster_neurons apart.
        matrices: 3 rows a bundle (gate, up, down), or 2 of networks without gate (OPT: first matrix and down).
    """

    hidden: int
    bits: int
    cluster_neurons: int
    cluster_bytes: int
    matrices: int = 3

    @classmethod
    def of(cls, hidden: int, bits: int, matrices: int = 3) -> BundleLayout:
        """Choose the smallest cluster: one bundle of whole blocks, or a power of two of them in one block.

        Raises:
            ValueError: columns are not a positive multiple of 32, or bits are neither 4 nor 8.
        """
        bundle = matrices * packed_row_bytes(hidden, bits)
        neurons = 1
        while 2 * neurons * bundle <= BLOCK:
            neurons *= 2
        return cls(hidden, bits, neurons, -(-bundle // BLOCK) * BLOCK, matrices)

    @property
    def row_bytes(self) -> int:
        """Bytes of one packed row."""
        return packed_row_bytes(self.hidden, self.bits)

    @property
    def stride(self) -> int:
        """Bytes from a bundle to the next."""
        return self.cluster_bytes // self.cluster_neurons

    def clusters(self, neurons: int) -> int:
        """Return the clusters of a network; the last one may be filled up with zeros."""
        return -(-neurons // self.cluster_neurons)

    def network_bytes(self, neurons: int) -> int:
        """Return the bytes of a network in the file."""
        return self.clusters(neurons) * self.cluster_bytes

    def why_not(self) -> tuple[str, object, str] | None:
        """Return the first field that does not fit, its value and what is accepted."""
        if not 0 < self.hidden <= 1 << 20 or self.hidden % 32:
            return "hidden", self.hidden, "a multiple of 32 up to 1048576"
        if self.bits not in (4, 8):
            return "bits", self.bits, "4 or 8"
        if not 0 < self.cluster_neurons <= BLOCK:
            return "cluster_neurons", self.cluster_neurons, f"1 to {BLOCK}"
        room = f"a multiple of {BLOCK} up to {1 << 22}, of which each bundle has an equal part of at least "
        room += f"{self.matrices * self.row_bytes} bytes, a multiple of 16"
        if self.cluster_bytes % BLOCK or not 0 < self.cluster_bytes <= 1 << 22:
            return "cluster_bytes", self.cluster_bytes, room
        if (
            self.cluster_bytes % self.cluster_neurons
            or self.stride % 16
            or self.stride < self.matrices * self.row_bytes
        ):
            return "cluster_bytes", self.cluster_bytes, room
        return None
