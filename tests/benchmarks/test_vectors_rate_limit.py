"""What codes can tell at best: checked against the formula where it is known, and against simulation."""

import numpy as np
import pytest

from benchmarks.vectors.rate_limit import centred, errors_of, ideal_codes, rate_of, reads_for

VARIANCES = np.array([4.0, 1.0, 0.25, 0.01])


@pytest.mark.parametrize("bits", [0.5, 2.0, 5.0, 12.0])
def test_errors_take_the_bits_that_there_are(bits: float) -> None:
    errors = errors_of(VARIANCES, bits)
    assert rate_of(VARIANCES, errors) == pytest.approx(bits, rel=1e-6)
    spread = errors[errors < 0.999 * VARIANCES]
    assert np.ptp(spread) < 1e-9, "every coordinate with bits errs by the same level"


def test_each_bit_of_a_coordinate_takes_three_quarters_of_its_error() -> None:
    same = np.full(8, 3.0)
    np.testing.assert_allclose(errors_of(same, 8.0), 3.0 / 4, rtol=1e-9)
    np.testing.assert_allclose(errors_of(same, 16.0), 3.0 / 16, rtol=1e-9)
    np.testing.assert_allclose(errors_of(VARIANCES, 0.0), VARIANCES, rtol=1e-6)


def test_ideal_codes_err_by_what_was_said_and_in_no_known_direction() -> None:
    random = np.random.default_rng(3)
    rows = (random.standard_normal((200_000, 4)) * np.sqrt(VARIANCES)).astype(np.float32)
    errors = errors_of(VARIANCES, 3.0)
    given = ideal_codes(rows, VARIANCES, errors, random)
    np.testing.assert_allclose((rows - given).var(axis=0), errors, rtol=0.02)
    for column in range(4):
        assert abs(np.mean((rows - given)[:, column] * given[:, column])) < 0.01


def test_rows_are_centred_by_their_lists() -> None:
    rows = np.array([[0, 0], [2, 4], [7, 7]], np.float32)
    inside, means = centred(rows, np.array([0, 0, 2]), 3)
    assert means.tolist() == [[1, 2], [0, 0], [7, 7]] and inside.tolist() == [[-1, -2], [1, 2], [0, 0]]


def test_reads_are_the_place_of_the_last_that_a_recall_needs() -> None:
    ranks = np.array([[0, 1, 2, 3, 9], [0, 1, 2, 4, 30]])
    assert reads_for(ranks, 0.9) == 10 and reads_for(ranks, 1.0) == 31 and reads_for(ranks, 0.5) == 3
