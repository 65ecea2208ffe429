"""Where in a checkpoint's files a tensor lies that a model asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from .errors import CheckpointError


@dataclass(frozen=True, slots=True)
class TensorPart:
    """A tensor [shape] as rows [first_row, first_row + rows) of a stored one, which is taken as a matrix.

    Experts are often stored as one stack [experts, rows, columns]. `transposed` says that the file holds the transpose.
    """

    stored: str
    shape: tuple[int, ...]
    first_row: int = 0
    transposed: bool = False

    @property
    def stored_rows(self) -> slice:
        """The rows in the stored tensor."""
        rows = self.shape[-1] if self.transposed else prod(self.shape[:-1])
        return slice(self.first_row, self.first_row + rows)


def by_name(path: Path, parts: Iterable[tuple[str, TensorPart]]) -> dict[str, TensorPart]:
    """Return parts by name; raises CheckpointError for two stored tensors that claim one name."""
    found: dict[str, TensorPart] = {}
    for name, part in parts:
        if name in found:
            raise CheckpointError(path, f"is stored twice, as {found[name].stored} and {part.stored}", name)
        found[name] = part
    return found


def stack_parts(part_names: Iterable[str], stored: str, shape: tuple[int, ...]) -> list[tuple[str, TensorPart]]:
    """Cut a stack [experts, ...] into equal parts along its rows, in order, one for each name."""
    names = list(part_names)
    rows = prod(shape[:-1]) // max(1, len(names))
    return [(name, TensorPart(stored, (rows, shape[-1]), i * rows)) for i, name in enumerate(names)]
