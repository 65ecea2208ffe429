"""What no system can beat: printed beside every measurement.

kappa: bytes of keys and values a token; W: of the weights; M: memory of an instance; A: of activations; N instances
in G groups of g; B: bytes per second between them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fleet:
    """Equal instances.

    Attributes:
        instances: N.
        memory_bytes: M.
        weight_bytes: W.
        activation_bytes: A.
        link_bytes_per_s: B.
    """

    instances: int
    memory_bytes: int
    weight_bytes: int
    activation_bytes: int = 0
    link_bytes_per_s: float = float("inf")

    def kv_capacity(self) -> int:
        """C = N (M - W - A): bytes for keys and values without dropping."""
        return self.instances * (self.memory_bytes - self.weight_bytes - self.activation_bytes)

    def freeable(self, groups: int) -> int:
        """(N - G) W: bytes that dropping frees; beyond that it only delays the queue."""
        return (self.instances - groups) * self.weight_bytes

    def restore_seconds(self, stages: int) -> float:
        """W (1 - 1/g) / B: until an instance of a group of g has its layers back."""
        return self.weight_bytes * (1 - 1 / stages) / self.link_bytes_per_s

    def tail_ttft(
        self, prefill_s: float, demand_bytes: float, residence_s: float, *, freed_bytes: float = 0.0
    ) -> float:
        """Time to first token at the tail of a burst: t_prefill + max(0, D - C) T_res / C.

        Args:
            prefill_s: of the request itself.
            demand_bytes: D: keys and values of running and queued requests.
            residence_s: T_res: how long a request holds its memory.
            freed_bytes: added to C by dropping.

        Raises:
            ValueError: weights and activations leave no room for keys and values.
        """
        capacity = self.kv_capacity() + freed_bytes
        if not capacity > 0:
            raise ValueError(f"{self}, freed_bytes {freed_bytes:g}: capacity {capacity:g}; accepted: above 0")
        return prefill_s + max(0.0, demand_bytes - capacity) * residence_s / capacity


def decode_step_seconds(
    weight_bytes: float,
    batch: int,
    mean_tokens: float,
    token_bytes: float,
    compression: float,
    memory_bytes_per_s: float,
    parameters: float,
    operations_per_s: float,
) -> float:
    """max((W + b s kappa / r) / BW, 2 P b / FLOPs): a decode step of b requests of s tokens, compressed r times."""
    moved = weight_bytes + batch * mean_tokens * token_bytes / compression
    return max(moved / memory_bytes_per_s, 2 * parameters * batch / operations_per_s)
