"""Version ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.plugin.api_range import admits

versions = st.lists(st.integers(0, 30), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))


@pytest.mark.parametrize(
    ("version_range", "version", "expected"),
    [
        (">=1.0,<2", "1.0", True),
        (">=1.0,<2", "1.9.9", True),
        (">=1.0,<2", "2.0", False),
        ("==1", "1.0", True),
        ("!=1.0", "1", False),
        (">1.9, <=1.10", "1.10", True),
    ],
)
def test_examples(version_range: str, version: str, expected: bool) -> None:
    assert admits(version_range, version) is expected


@pytest.mark.parametrize("version_range", ["", "1", ">=", ">=1,", "~=1", ">=1.x", ">=1;<2", ">=" + "9" * 10_000])
def test_what_is_no_range_is_named(version_range: str) -> None:
    with pytest.raises(ValueError, match="is no comparison"):
        admits(version_range, "1.0")


@given(versions, versions)
def test_signs_agree_with_each_other(bound: str, version: str) -> None:
    assert admits(f">={bound}", version) is not admits(f"<{bound}", version)
    assert admits(f"<={bound}", version) is not admits(f">{bound}", version)
    assert admits(f"=={bound}", version) is not admits(f"!={bound}", version)
    assert admits(f"=={bound}", version) is (admits(f">={bound}", version) and admits(f"<={bound}", version))
