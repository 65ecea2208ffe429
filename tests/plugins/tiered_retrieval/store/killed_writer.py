"""A process that writes until it is killed, and says what was acknowledged. Arguments: folder, seed of its writes."""

import os
import random
import sys
from pathlib import Path

import numpy as np

from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.store.settings import StoreSettings
from fairlead_tiered_retrieval.store.store import Store

SPACE = Space("float32", "l2", 8)
SETTINGS = StoreSettings(maintenance_s=0, segment_bytes=4000, log_bytes=8000)
GROUPS, SIZE = 12, 3


def vector(group: int, version: int) -> np.ndarray:
    """All of one write carry the same number, so that a half write shows."""
    return np.full((SIZE, 8), group * 1000 + version, np.float32)


def ids(group: int) -> list[int]:
    return [group * SIZE + row for row in range(SIZE)]


def write_until_killed(folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    store = Store(folder, SETTINGS)
    documents = store.collection("a")
    version = 0
    while True:
        version += 1
        group = draw.randrange(GROUPS)
        deleting = draw.random() < 0.2
        say(f"began {group} {0 if deleting else version}")
        if deleting:
            documents.delete(ids(group))
        else:
            fields = [{"group": group, "version": version}] * SIZE
            documents.upsert(ids(group), vector(group, version), fields, [f"group{group} v{version}"] * SIZE)
        say("done")
        if draw.random() < 0.1:
            documents.maintain()


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    write_until_killed(Path(sys.argv[1]), int(sys.argv[2]))
