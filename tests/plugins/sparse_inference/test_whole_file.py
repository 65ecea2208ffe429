"""A file is there whole or not at all, and what went wrong names it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

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


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
@pytest.mark.parametrize("before", ["nothing", "a file", "a partial one"])
def test_tensors_are_for_whom_other_new_files_are(tmp_path: Path, umask: int, mode: int, before: str) -> None:
    path = tmp_path / "a.safetensors"
    if before != "nothing":
        (path if before == "a file" else tmp_path / "a.safetensors.partial").touch(0o604)
    kept = os.umask(umask)
    try:
        with whole_file(path) as file:
            save_file({"x": np.arange(3)}, file)
    finally:
        os.umask(kept)
    assert path.stat().st_mode & 0o777 == mode
    assert list(tmp_path.iterdir()) == [path] and load_file(path)["x"].tolist() == [0, 1, 2]


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
