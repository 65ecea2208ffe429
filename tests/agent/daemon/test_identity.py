"""One identity for life, and an incarnation that grows at each start."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead_agent.daemon.identity import IdentityError, next_identity


def test_every_start_is_counted(tmp_path: Path) -> None:
    assert [next_identity(tmp_path, "edge").incarnation for _ in range(3)] == [1, 2, 3]


def test_a_folder_belongs_to_one_node(tmp_path: Path) -> None:
    next_identity(tmp_path, "edge")
    with pytest.raises(IdentityError, match="belongs to node 'edge', not 'phone'"):
        next_identity(tmp_path, "phone")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"node": "edge"}', '{"node": "edge", "incarnation": "many"}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "identity.json").write_text(text)
    with pytest.raises(IdentityError, match=r"identity\.json"):
        next_identity(tmp_path, "edge")


@pytest.mark.parametrize("name", ["", "Edge", "a/b", "+", "x" * 64, "edge\n"])
def test_a_name_that_cannot_stand_in_a_topic_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(IdentityError):
        next_identity(tmp_path, name)
