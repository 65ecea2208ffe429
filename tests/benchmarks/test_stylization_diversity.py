"""Random noise that searches are compared with has the budget of a search: its bound and its norm."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: searches are not compared")

from benchmarks.stylization_diversity import OFTEN, SAME_STYLE, _as_near, _as_strong  # noqa: E402
from fairlead_stylization.diversity.request import Search  # noqa: E402
from fairlead_stylization.diversity.search import random_results  # noqa: E402

CONTENT = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
WANTED = Search(count=4, bound=0.1, cell=16, seed=3)


def norm(wanted: Search) -> float:
    """Root mean square of what noise changes."""
    found = random_results(lambda pictures: pictures, CONTENT, wanted, smooth=True)
    assert (found.inputs - CONTENT).abs().max() <= wanted.bound + 1e-6
    return float((found.inputs - CONTENT).square().mean().sqrt())


def test_noise_is_as_strong_as_what_it_is_compared_with() -> None:
    asked = 1.2 * norm(WANTED)
    found = norm(_as_strong(CONTENT, WANTED, asked))
    assert asked <= found <= 1.02 * asked


def test_noise_never_reaches_less_far_than_a_search() -> None:
    assert _as_strong(CONTENT, WANTED, 0.5 * norm(WANTED)).stretch == WANTED.stretch


def test_a_search_is_made_weaker_until_it_loses_no_more_of_the_style_than_noise() -> None:
    tries = [CONTENT + 0.1 * 0.8**times for times in range(OFTEN + 1)]
    noise = CONTENT + 0.05

    def lost(made: torch.Tensor) -> float:
        return float((made - CONTENT).abs().mean())

    calm, made = _as_near(tries.__getitem__, lambda calm: noise, lost)
    assert made is noise
    assert lost(noise) * 0.8 < lost(calm) <= SAME_STYLE * lost(noise)
    assert _as_near(tries.__getitem__, lambda calm: CONTENT + 0.2, lost)[0] is tries[0]
