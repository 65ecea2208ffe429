"""Page formats: the paper's ratios, and segments that lie in the page without touching."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.arena.formats import ALIGNMENT, BITS, K4V2, K8V4, K16V16, KVFormat, page_layout

FORMATS = st.builds(KVFormat, st.sampled_from(BITS), st.sampled_from(BITS))


@pytest.mark.parametrize(("format", "bare", "whole"), [(K8V4, 2.56, 2.49), (K4V2, 4.92, 4.65)])
def test_ratios_are_those_of_the_paper(format: KVFormat, bare: float, whole: float) -> None:
    assert format.ratio(128, bookkeeping=False) == pytest.approx(bare, abs=0.005)
    assert format.ratio(128) == pytest.approx(whole, abs=0.005)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FORMATS, st.sampled_from([8, 64, 80, 128, 256]), st.sampled_from([2304, 4096, 8192]))
def test_segments_fill_a_page_without_overlap(format: KVFormat, head_dim: int, page_bytes: int) -> None:
    layout = page_layout(format, head_dim, page_bytes)
    meta = [4 if bits < 16 else 0 for bits in (format.key_bits, format.value_bits)]
    sizes = [format.key_bits * head_dim // 8, meta[0], format.value_bits * head_dim // 8, meta[1], 2, 4]
    starts = [layout.keys, layout.key_meta, layout.values, layout.value_meta, layout.scores, layout.positions]
    ends = [start + size * layout.tokens for start, size in zip(starts, sizes, strict=True)]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert ends[-1] <= page_bytes
    assert all(start % ALIGNMENT == 0 for start in starts)
    assert page_bytes < ends[-1] + sum(sizes) + 6 * ALIGNMENT, "one more token would have fitted"


def test_a_page_of_8_kib_wastes_little() -> None:
    for format in (K8V4, K4V2, K16V16):
        layout = page_layout(format, 128, 8192)
        assert layout.tokens * format.token_bytes(128) / 8192 > 0.94, str(format)


@pytest.mark.parametrize("text", ["", "8V4", "K8", "K3V4", "K8V4 "])
def test_other_formats_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="accepted"):
        KVFormat.parse(text)


def test_formats_are_read_as_they_are_written() -> None:
    assert KVFormat.parse("K8V4") == K8V4
    assert str(K4V2) == "K4V2"


@pytest.mark.parametrize(("head_dim", "page_bytes"), [(12, 4096), (0, 4096), (128, 100), (128, 64), (128, 0)])
def test_pages_that_hold_no_token_are_refused(head_dim: int, page_bytes: int) -> None:
    with pytest.raises(ValueError, match="accepted"):
        page_layout(K8V4, head_dim, page_bytes)
