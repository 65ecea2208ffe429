"""Whatever a file holds, the answer is a configuration or a ConfigError."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_agent.config import ConfigError, load_fleet, load_profile, load_workloads
from fairlead_agent.config.found import shipped_folder

LOADERS: dict[str, Callable[[str], object]] = {
    "profiles": load_profile,
    "workloads": load_workloads,
    "fleets": load_fleet,
}
SHIPPED = [path for kind in LOADERS for path in sorted((shipped_folder() / kind).glob("*.yaml"))]

ALPHABET = st.sampled_from([*"abn019 .:-_&*!|>%@`'\"[]{},#?~\n\t\r\0é\ud7ff\U0001f600", "!!", "<<: ", "---\n", "- "])
KEYS = st.sampled_from(["name", "plugin", "agents", "budget", "simulated", "links", "weights", "<<", "placement"])
LEAVES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=8)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | LEAVES, inner, max_size=4),
    max_leaves=20,
)
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=sorted(LOADERS))
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], None]:
    """Loads bytes as a file of one kind; only a ConfigError is let pass."""
    path = tmp_path_factory.mktemp("garbage") / "file.yaml"

    def attempt(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(ConfigError):
            LOADERS[request.param](str(path))

    return attempt


@QUICK
@given(content=st.binary(max_size=80))
def test_bytes(load: Callable[[bytes], None], content: bytes) -> None:
    load(content)


@QUICK
@given(parts=st.lists(ALPHABET, max_size=60))
def test_text_that_looks_like_yaml(load: Callable[[bytes], None], parts: list[str]) -> None:
    load("".join(parts).encode())


@QUICK
@given(tree=TREES)
def test_trees(load: Callable[[bytes], None], tree: Any) -> None:
    load(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


@QUICK
@given(data=st.data())
def test_shipped_files_with_a_piece_replaced(load: Callable[[bytes], None], data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(SHIPPED)).read_bytes()
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 20))
    load(text[:start] + "".join(data.draw(st.lists(ALPHABET, max_size=6))).encode() + text[start + length :])


ODD = [
    "!!int x",
    "!!float x",
    "!!bool x",
    "!!timestamp x",
    "!!binary é",
    "!!set [1]",
    "!!omap x",
    "{[1]: 2}",
    "{{a: 1}: 2}",
    "=",
    "0b",
    "0x_",
    "9" * 5000,
    "1:60",
    "<<",
    "{<<: 3}",
]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("kind", sorted(LOADERS))
def test_tags_that_do_not_fit(kind: str, value: str, tmp_path: Any) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(f"name: {value}\nplugin: {value}\nconfig: {value}\n")
    with pytest.raises(ConfigError, match=r"file\.yaml:\d"):
        LOADERS[kind](str(path))
