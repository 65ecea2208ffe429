"""What a strength asks of colours and of steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fairlead_stylization.transform.colours import Colours, colour_map
from fairlead_stylization.transform.strengths import of_colours, of_steps


@pytest.mark.parametrize("share", [of_colours, of_steps])
def test_none_is_none_all_is_all_and_more_is_more(share) -> None:
    shares = share(np.linspace(0, 1, 11))
    assert shares[0] == 0 and shares[-1] == 1
    assert (np.diff(shares) > 0).all()


def test_colours_go_ahead_and_steps_stay_behind() -> None:
    between = torch.linspace(0.1, 0.9, 9)
    assert (of_colours(between) > between).all()
    assert (of_steps(between) < between).all()


def test_a_quarter_of_the_strength_is_nearly_half_of_the_way_for_colours() -> None:
    dark, bright = (Colours(np.full(3, mean, np.float32), 0.01 * np.eye(3, dtype=np.float32)) for mean in (0.2, 0.6))
    np.testing.assert_allclose(colour_map(dark, bright, 0.25)[:, 3], 0.4375 * 0.4, atol=1e-4)
