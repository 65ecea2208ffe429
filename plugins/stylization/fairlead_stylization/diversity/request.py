"""What a search may change, and how long it looks."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import BadSetting

#: Of a step's size to a lattice's reach, at first, and by which it shrinks (AAAI 2024, section 3.2: decaying steps).
FIRST_STEP, DECAY = 0.5, 0.9
#: Of the values of a lattice to the bound: splines flatten what changes from one value to the next, and a change whose
#: values stay within the bound itself hardly gets there. What would leave the bound is bent back (`smooth.bent`).
REACH = 2.0
#: Of a perturbation's absolute value, in colours of [0, 1]. The paper has 0.15 on contents: more of it is blotches.
BOUND = 0.1
#: Of a search: more of them find results that are further apart, for more time.
STEPS = 14
#: Of what fills a hole: with pieces of the same picture, or as a network gives it.
TEXTURED, SMOOTH = "textured", "smooth"
FINISHES = (TEXTURED, SMOOTH)


def require_finish(finish: str) -> None:
    """Raise BadSetting for what is none of `FINISHES`."""
    if finish not in FINISHES:
        raise BadSetting(f"finish {finish!r}; accepted: {', '.join(FINISHES)}")


@dataclass(frozen=True, slots=True)
class Search:
    """A request for several results.

    Attributes:
        count: results.
        bound: of a perturbation's absolute value, in colours of [0, 1]; the paper has 0.01 on styles and on pictures
            with holes.
        steps: of the search.
        cell: pixels between two values of the perturbation; larger is smoother.
        seed: the same one gives the same results.
        stretch: how far the values of a lattice reach, of the bound.
    """

    count: int = 4
    bound: float = BOUND
    steps: int = STEPS
    cell: int = 16
    seed: int = 0
    stretch: float = REACH

    def __post_init__(self) -> None:
        checks = (
            ("count", self.count, 1 <= self.count <= 64, "from 1 to 64"),
            ("bound", self.bound, 0 < self.bound <= 1, "above 0, at most 1"),
            ("steps", self.steps, 1 <= self.steps <= 1000, "from 1 to 1000"),
            ("cell", self.cell, 1 <= self.cell <= 256, "from 1 to 256"),
            ("seed", self.seed, 0 <= self.seed < 2**63, "from 0 to 2**63 - 1"),
            ("stretch", self.stretch, 0 < self.stretch <= 100, "above 0, at most 100"),
        )
        for name, value, good, accepted in checks:
            if not good:
                raise BadSetting(f"{name} {value}; accepted: {accepted}")

    @property
    def reach(self) -> float:
        """Of the absolute values of a lattice."""
        return self.stretch * self.bound

    def step_size(self, step: int) -> float:
        """Return by how much a value changes in a step."""
        return self.reach * FIRST_STEP * DECAY**step
