"""How vectors are turned and rounded into the codes that a graph is walked by: learned from a sample."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.vectors import Space, Vectors, as_floats

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

SAMPLE = 8192
LINE_COORDINATES = 64
NORM_COORDINATES = 4
MOST_LINES = 4
ENOUGH = 0.95
#: Of the coordinates' magnitudes, what an 8 bit code reaches.
REACH = 0.9999
#: Where 8 bit codes would take so many lines, codes have 4 bits: a walk waits for lines.
FEW_BITS_FROM = 3
#: Numbers by which the step of 4 bit codes is chosen.
NIBBLE_SAMPLE = 1 << 17
#: Of a 4 bit code: the largest coordinate, and how many steps rows reach that refine it.
MOST_NIBBLE, NIBBLE_REACH = 7, 10.5


@dataclass(frozen=True, slots=True)
class WalkCodes:
    """A rotation, leading coordinates first, and the steps to which they are rounded.

    Attributes:
        rotation: float32 [leading + trailing, columns]; rows beyond the vectors' dimension are 0.
        center: float32 [columns]: subtracted first.
        lines: cache lines of a code.
        bits: of a code's coordinate, 8 or 4.
        step, tail_step: of leading and of trailing coordinates.
        longest: for inner products, the squared norm of the longest vector; all get a further coordinate that makes
            them as long (Bachrach et al. 2014).
    """

    rotation: F32
    center: F32
    lines: int
    step: float
    tail_step: float
    longest: float
    bits: int = 8

    @property
    def leading(self) -> int:
        """Coordinates that a code holds."""
        return leading_coordinates(self.lines, self.bits)

    @property
    def query_bytes(self) -> int:
        """Bytes of a query: one for each coordinate and for what lies beside them."""
        return self.lines * LINE_COORDINATES * 8 // self.bits

    @property
    def training_bytes(self) -> int:
        """Memory that learning took."""
        columns = len(self.center)
        return SAMPLE * columns * 16 + columns * columns * 32

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fields as arrays, for saving."""
        return {f"walk_{field.name}": np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> WalkCodes:
        """Return what `arrays` returned the arrays of; KeyError where one is missing."""
        # Graphs that were saved before there were other codes have 8 bits.
        values = {field.name: arrays[f"walk_{field.name}"] for field in fields(cls) if field.name != "bits"}
        scalars = {name: values[name].item() for name in ("lines", "step", "tail_step", "longest")}
        scalars["bits"] = arrays["walk_bits"].item() if "walk_bits" in arrays else 8
        turned = {name: np.ascontiguousarray(values[name], np.float32) for name in ("rotation", "center")}
        return cls(**turned, **scalars)


def leading_coordinates(lines: int, bits: int) -> int:
    """Return how many coordinates codes of so many cache lines hold."""
    return (lines * LINE_COORDINATES - NORM_COORDINATES) * 8 // bits


def train_walk_codes(
    space: Space,
    vectors: Vectors,
    slots: NDArray[np.uint32],
    lines: int | None,
    bits: int | None,
    tail_bits: int,
    seed: int,
) -> WalkCodes:
    """Learn from a sample of the rows ``vectors[slots]``.

    Principal components come first (LeanVec, Tepper et al. 2024); within the leading and within the trailing block a
    random rotation evens out the variances, so that one step fits all coordinates of a block.

    Args:
        space: of the vectors.
        vectors: rows by slot.
        slots: which of them.
        lines: cache lines of a code; None: up to MOST_LINES, as many as hold ENOUGH of the variance.
        bits: of a code's coordinate, 8 or 4; None: 4 where 8 would take FEW_BITS_FROM lines or more.
        tail_bits: of a trailing coordinate; 0: those are left out.
        seed: of the sample and the rotations.
    """
    random = np.random.default_rng(seed)
    longest = _longest(space, vectors, slots)
    chosen = np.sort(random.permutation(len(slots))[:SAMPLE])
    sample = _prepared(space, vectors[slots[chosen]], longest)
    center = sample.mean(0) if len(sample) else np.zeros(sample.shape[1])
    centered = sample - center
    variances, components = np.linalg.eigh(centered.T @ centered)
    components = components[:, ::-1].T
    bits = bits or (4 if _enough_lines(variances[::-1], 8) >= FEW_BITS_FROM else 8)
    lines = lines or _enough_lines(variances[::-1], bits)
    lead = min(leading_coordinates(lines, bits), len(center))
    rotation = np.zeros((leading_coordinates(lines, bits), len(center)))
    rotation[:lead] = _random_rotation(lead, random) @ components[:lead]
    tail = _random_rotation(len(center) - lead, random) @ components[lead:] if tail_bits else components[:0]
    return WalkCodes(
        np.ascontiguousarray(np.concatenate([rotation, tail]), np.float32),
        center.astype(np.float32),
        lines,
        _leading_step(centered @ rotation[:lead].T, bits, refined=tail_bits > 0),
        _step(centered @ tail.T, tail_bits),
        longest,
        bits,
    )


def _prepared(space: Space, rows: Vectors, longest: float) -> F64:
    floats = as_floats(rows, space).astype(np.float64)
    if space.element == "bit" or space.metric == "l2":
        return floats
    squares = np.square(floats).sum(1, keepdims=True)
    if space.metric == "cosine":
        return floats / np.sqrt(np.where(squares > 0, squares, 1.0))
    return np.concatenate([floats, np.sqrt(np.maximum(0.0, longest - squares))], 1)


def _longest(space: Space, vectors: Vectors, slots: NDArray[np.uint32]) -> float:
    if space.metric != "dot" or space.element == "bit":
        return 0.0
    most = 0.0
    for first in range(0, len(slots), SAMPLE):
        floats = as_floats(vectors[slots[first : first + SAMPLE]], space)
        most = max(most, float(np.square(floats, dtype=np.float64).sum(1).max()))
    return most


def _enough_lines(variances: F64, bits: int) -> int:
    shares = np.cumsum(variances) / max(float(variances.sum()), 1e-30)
    for lines in range(1, MOST_LINES):
        lead = leading_coordinates(lines, bits)
        if lead >= len(shares) or shares[lead - 1] >= ENOUGH:
            return lines
    return MOST_LINES


def _random_rotation(size: int, random: np.random.Generator) -> F64:
    if size == 0:
        return np.empty((0, 0))
    q, r = np.linalg.qr(random.standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def _step(coordinates: F64, bits: int) -> float:
    reach = _reach(coordinates)
    return reach / (2 ** (bits - 1) - 1) if reach > 0 else 1.0


def _reach(coordinates: F64) -> float:
    return float(np.quantile(np.abs(coordinates), REACH)) if coordinates.size else 0.0


def _leading_step(coordinates: F64, bits: int, refined: bool) -> float:
    if bits == 8:
        return _step(coordinates, 8)
    step = _nibble_step(coordinates)
    return max(step, _reach(coordinates) / NIBBLE_REACH) if refined else step


def _nibble_step(coordinates: F64) -> float:
    """Return the step by which coordinates [n, leading], clipped, are rounded with the least squared error."""
    some = coordinates.ravel()[:: max(1, coordinates.size // NIBBLE_SAMPLE)]
    deviation = float(np.sqrt(np.mean(np.square(some)))) if some.size else 0.0
    if deviation == 0.0:
        return 1.0
    steps = deviation * np.linspace(1.5, 5.0, 36) / MOST_NIBBLE
    errors = [
        np.square(np.clip(np.rint(some / step), -MOST_NIBBLE, MOST_NIBBLE) * step - some).mean() for step in steps
    ]
    return float(steps[int(np.argmin(errors))])
