"""A file is there whole or not at all, and what went wrong names it."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fairlead_sparse_inference.whole_file import whole_file


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as file:
        file.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(ValueError, match="changed my mind"), whole_file(path) as file:
        file.write_text("newer")
        raise ValueError("changed my mind")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["bytes", "tensors"])
def test_a_disk_that_takes_no_more_is_told_by_the_files_name(tmp_path: Path, kind: str) -> None:
    """The system refuses to let files grow further, as a full disk does."""
    path, (soft, hard) = tmp_path / "a.bin", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught, whole_file(path) as file:
            if kind == "bytes":
                file.write_bytes(bytes(8192))
            else:
                save_file({"x": np.zeros(4096, np.float32)}, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []
