"""The trained quantizer of a collection: bit codes by a plan that fits a memory budget, and their file."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.vector_bit_codes import BitCodes, CodedList, Estimates, default_plan, uniform_plan
from fairlead_kernels.vectors import VectorError, check_vectors

from ..errors import BadVectors, CorruptFile
from ..space import Space

_MAGIC = b"FLQUANT1"
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quantizer:
    """Codes of a space's vectors; what lists keep is relative to their centroids.

    Attributes:
        space: of the vectors.
        codes: the trained numbers.
    """

    space: Space
    codes: BitCodes

    @classmethod
    def train(
        cls, sample: NDArray, space: Space, *, bits: int | None = None, most_bytes: float | None = None, seed: int = 0
    ) -> Quantizer:
        """Return a quantizer for a sample of some thousands of the space's vectors [n, columns].

        Args:
            sample: drawn at random from what will be coded.
            space: of the vectors; not bits, which are codes themselves.
            bits: 1..8: plain RaBitQ codes of so many bits a coordinate; None: the plan that needs the fewest reads.
            most_bytes: of a vector's codes, with ``bits`` None; default 0.077 of its float32.
            seed: of what is random.

        Raises:
            BadVectors: the sample, the space or the size cannot be had; the message names it.
        """
        try:
            rows = check_vectors(sample, space.dim, space.element, name="sample")
            plan = default_plan(space, most_bytes) if bits is None else uniform_plan(space.dim, bits)
            return cls(space, BitCodes.train(rows, space, plan, seed=seed))
        except VectorError as error:
            raise BadVectors(str(error)) from error

    @property
    def bytes_per_vector(self) -> float:
        """Bytes of a vector's codes and numbers."""
        return self.codes.plan.bytes_per_vector

    def encode(self, vectors: NDArray, centroid: F32 | None = None) -> tuple[CodedList, F32]:
        """Return the codes of a list's checked vectors and its rotated centroid: theirs unless one is given."""
        rotated = self.codes.rotate(vectors)
        middle = self.codes.centroid(rotated) if centroid is None else centroid
        return self.codes.encode(rotated, middle), middle

    def estimates(
        self, query: NDArray, coded: CodedList, centroid: F32, *, confidence: float = 0.99, refined: bool = True
    ) -> Estimates:
        """Return the estimates of a checked query's [columns] distances to a list, and bounds of that confidence."""
        rotated = self.codes.rotate(query[None])[0]
        return self.codes.scan(rotated, centroid, coded, confidence=confidence, refined=refined)

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        packed = io.BytesIO()
        np.savez(packed, **self.codes.arrays())
        about = json.dumps({"element": self.space.element, "metric": self.space.metric, "dim": self.space.dim})
        body = len(about).to_bytes(4, "little") + about.encode() + packed.getvalue()
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            file.write(_MAGIC + zlib.crc32(body).to_bytes(4, "little") + body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Quantizer:
        """Return what was saved.

        Raises:
            CorruptFile: the file is not what was written.
            OSError: it cannot be read.
        """
        data = path.read_bytes()
        body = data[12:]
        if data[:8] != _MAGIC or zlib.crc32(body) != int.from_bytes(data[8:12], "little"):
            raise CorruptFile(path, 0, "not a quantizer's file, or its checksum is another", "train the codes again")
        try:
            length = int.from_bytes(body[:4], "little")
            about = json.loads(body[4 : 4 + length])
            space = Space(about["element"], about["metric"], about["dim"])
            with np.load(io.BytesIO(body[4 + length :]), allow_pickle=False) as arrays:
                return cls(space, BitCodes.from_arrays(space, dict(arrays)))
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptFile(path, 12, str(error), "train the codes again") from error
