"""Files with vectors or texts: what is read, and what is said of a file that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fairlead_tiered_retrieval.commands.readers import BATCH, BadFile, Batch, open_source, read_queries

RNG = np.random.default_rng(5)


def whole(path: Path, **options: object) -> Batch:
    """All batches of a file as one."""
    batches = list(open_source(path, **options).batches())  # type: ignore[arg-type]
    vectors = [batch.vectors for batch in batches if batch.vectors is not None]
    return Batch(
        [each for batch in batches for each in batch.ids],
        np.concatenate(vectors) if vectors else None,
        [text for batch in batches for text in batch.texts or []] or None,
        [row for batch in batches for row in batch.metadata or []] or None,
    )


def write_vecs(path: Path, rows: np.ndarray) -> Path:
    heads = np.full((len(rows), 1), rows.shape[1], "<i4").view(np.uint8).reshape(len(rows), 4)
    path.write_bytes(np.hstack([heads, rows.view(np.uint8).reshape(len(rows), -1)]).tobytes())
    return path


def test_npy_keeps_rows_and_narrows_doubles(tmp_path: Path) -> None:
    rows = RNG.normal(size=(BATCH + 7, 5))
    np.save(tmp_path / "rows.npy", rows)
    source, found = open_source(tmp_path / "rows.npy"), whole(tmp_path / "rows.npy")
    assert (source.count, source.dim, source.element) == (len(rows), 5, "float32")
    assert found.ids == list(range(len(rows)))
    np.testing.assert_array_equal(found.vectors, rows.astype(np.float32))


@pytest.mark.parametrize(("suffix", "dtype", "element"), [("fvecs", "<f4", "float32"), ("bvecs", "u1", "uint8")])
def test_vecs(tmp_path: Path, suffix: str, dtype: str, element: str) -> None:
    rows = RNG.integers(0, 255, (30, 12)).astype(dtype)
    path = write_vecs(tmp_path / f"rows.{suffix}", rows)
    assert open_source(path).element == element
    np.testing.assert_array_equal(read_queries(path), rows)


def test_ivecs_are_numbers_too(tmp_path: Path) -> None:
    rows = RNG.integers(-9, 9, (3, 4)).astype("<i4")
    np.testing.assert_array_equal(read_queries(write_vecs(tmp_path / "rows.ivecs", rows)), rows)


def test_parquet_has_columns_for_everything(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    rows = RNG.normal(size=(4, 3)).astype(np.float32)
    columns = {"id": ["a", "b", "c", "d"], "vector": list(rows), "text": list("wxyz"), "year": [1, 2, 3, 4]}
    parquet.write_table(arrow.table(columns), tmp_path / "rows.parquet")
    found = whole(tmp_path / "rows.parquet")
    assert found.ids == ["a", "b", "c", "d"] and found.texts == list("wxyz")
    assert found.metadata == [{"year": year} for year in (1, 2, 3, 4)]
    np.testing.assert_array_equal(found.vectors, rows)


def test_jsonl_has_an_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"id": "a", "vector": [1, 2], "text": "one", "year": 1}, {"vector": [3, 4], "metadata": {"year": 2}}]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    found = whole(path, prefix="x")
    assert found.ids == ["a", "x:2"] and found.texts == ["one", None]
    assert found.metadata == [{"year": 1}, {"year": 2}]
    np.testing.assert_array_equal(found.vectors, np.array([[1, 2], [3, 4]], np.float32))


def test_text_is_cut_into_passages_and_no_word_is_lost(tmp_path: Path) -> None:
    paragraphs = [
        " ".join(f"w{number}.{word}" for word in range(length)) for number, length in enumerate((3, 4, 50, 9))
    ]
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(paragraphs))
    found = whole(path, words=20)
    assert found.texts is not None and found.vectors is None
    assert " ".join(map(str, found.texts)).split() == " ".join(paragraphs).split()
    assert max(len(str(text).split()) for text in found.texts) <= 20
    assert found.ids[:2] == ["book:0", "book:1"] and found.metadata[0] == {"source": "book.txt", "passage": 0}
    assert whole(path, lines=True).texts == paragraphs


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"1,2", "ending .csv; accepted: .npy"),
        ("a.npy", b"no array", "accepted: an array [n, dim]"),
        ("a.fvecs", b"\x02\0\0\0\0\0", "accepted: rows of int32 dim"),
        ("a.fvecs", np.array([1, 0, 2, 0], "<i4").tobytes(), "row 1 is of another dimension; accepted: 1"),
        ("a.jsonl", b'{"id": 1, "text": "a"}\n[1]', "line 2 is list; accepted: one object"),
        ("a.jsonl", b'{"id": 1}', "line 1 has neither vector nor text"),
        ("a.jsonl", b'{"vector": [1]}\n{"text": "b"}', "line 2 has no vector"),
        ("a.jsonl", b'{"vector": [1]}\n{"vector": [1, 2]}', "differ in length"),
        ("a.txt", b"\xff\xfe", "byte 0 is no UTF-8"),
    ],
)
def test_bad_files_are_named_with_the_place(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile) as error:
        whole(tmp_path / name)
    assert said in str(error.value) and name in str(error.value)


def test_a_missing_file_and_a_cube(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        open_source(tmp_path / "nothing.npy")
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    with pytest.raises(BadFile, match=r"shape \(2, 2, 2\)"):
        open_source(tmp_path / "cube.npy")
