"""Models are told apart by their files."""

from __future__ import annotations

from pathlib import Path

from fairlead_language_model.fingerprint import fingerprint


def test_a_fingerprint_follows_the_files(tmp_path: Path, tiny_model: Path) -> None:
    before, copy = fingerprint(tiny_model), tmp_path / "copy"
    copy.mkdir()
    for file in tiny_model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert fingerprint(copy) == before
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert fingerprint(copy) != before
    assert fingerprint(weights) != fingerprint(copy)
