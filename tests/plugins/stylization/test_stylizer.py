"""What every network is given of a content."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_stylization.stylizer import MARGIN, framed, framing


@pytest.mark.parametrize("size", [(1, 1), (8, 5), (39, 300), (40, 64), (121, 83)])
def test_a_content_is_mirrored_at_all_borders(size: tuple[int, int]) -> None:
    content = np.random.default_rng(3).random((*size, 3), np.float32)
    rows, columns = framing(*size)
    seen = framed(content)
    np.testing.assert_array_equal(seen, content[rows][:, columns])
    assert seen.shape[0] % 8 == 0
    assert seen.shape[1] % 8 == 0
    np.testing.assert_array_equal(seen[MARGIN : MARGIN + size[0], MARGIN : MARGIN + size[1]], content)
    np.testing.assert_array_equal(seen[MARGIN - 1], seen[MARGIN])
