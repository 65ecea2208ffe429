"""The log: what was acknowledged is read back, a torn end is cut, damage is one clear error."""

import errno
import os
import random

import pytest

from fairlead_tiered_retrieval.errors import CorruptFile, StoreFull
from fairlead_tiered_retrieval.store.log import Log


def filled(folder, appends=6, segment_bytes=1 << 20, seed=0):
    draw = random.Random(seed)
    log, entries = Log(folder, segment_bytes=segment_bytes), []
    for _ in range(appends):
        together = [draw.randbytes(draw.randrange(0, 60)) for _ in range(draw.randrange(1, 4))]
        assert log.append(together) == len(entries) + 1
        entries += together
    log.close()
    return entries


def read(folder, after=0, **options):
    log = Log(folder, **options)
    try:
        return [entry for _, entry in log.replay(after)]
    finally:
        log.close()


def test_entries_come_back_in_order_over_many_segments(tmp_path):
    entries = filled(tmp_path, 20, segment_bytes=100)
    assert len(list(tmp_path.glob("*.log"))) > 3
    assert read(tmp_path) == entries
    assert read(tmp_path, after=7) == entries[7:]
    log = Log(tmp_path)
    assert log.next == len(entries) + 1
    log.drop(log.next - 1)
    assert log.bytes == 0 and log.append([b"x"]) == len(entries) + 1
    log.drop(len(entries))
    assert [number for number, _ in log.replay(0)] == [len(entries) + 1]
    log.close()


def test_a_torn_end_is_cut_wherever_it_is_torn(tmp_path):
    filled(tmp_path / "whole", 5)
    path = next((tmp_path / "whole").glob("*.log"))
    data = path.read_bytes()
    before = Log(tmp_path / "whole")
    ends = [0, *(frame.end for frame in before._frames(0, cut=False))]
    counts = [0]
    for frame in before._frames(0, cut=False):
        counts.append(counts[-1] + len(frame.entries))
    before.close()
    for size in range(0, len(data), 5):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / path.name).write_bytes(data[:size])
        kept = counts[max(place for place, end in enumerate(ends) if end <= size)]
        log = Log(folder)
        assert log.next == kept + 1
        assert log.append([b"after"]) == kept + 1
        log.close()
        assert read(folder)[kept:] == [b"after"]


def test_any_flipped_byte_is_damage_with_file_and_offset_or_a_torn_end(tmp_path):
    entries = filled(tmp_path / "whole", 5)
    path = next((tmp_path / "whole").glob("*.log"))
    data, draw = path.read_bytes(), random.Random(1)
    last = max(frame.end - len(data) for frame in Log(tmp_path / "whole")._frames(0, cut=False))
    assert last == 0
    refused = 0
    for at in range(len(data)):
        folder = tmp_path / f"flip{at}"
        folder.mkdir()
        damaged = bytearray(data)
        damaged[at] ^= 1 << draw.randrange(8)
        (folder / path.name).write_bytes(damaged)
        try:
            found = read(folder)
        except CorruptFile as error:
            refused += 1
            assert error.path == folder / path.name and error.offset <= at
            assert "can be saved" in str(error) and str(error.offset) in str(error)
            found = read(folder, skip_damage=True)
        assert all(entry in entries for entry in found) and (len(found) < len(entries) or at < 20)
    assert refused > len(data) // 2


def test_random_bytes_are_refused_or_empty(tmp_path):
    draw = random.Random(2)
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"{1:020}.log").write_bytes(draw.randbytes(draw.randrange(0, 200)))
        try:
            assert read(folder) == []
        except CorruptFile as error:
            assert error.offset == 0


def test_a_missing_segment_is_named(tmp_path):
    filled(tmp_path, 20, segment_bytes=100)
    sorted(tmp_path.glob("*.log"))[1].unlink()
    with pytest.raises(CorruptFile, match=r"entries \d+ to \d+ are missing"):
        Log(tmp_path)


def test_what_could_not_be_made_durable_did_not_happen(tmp_path):
    full = False

    def sync(file):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.fdatasync(file)

    log = Log(tmp_path, sync=sync)
    log.append([b"one"])
    full = True
    with pytest.raises(StoreFull, match=r"No space left|taken back"):
        log.append([b"two, which is longer"])
    full = False
    assert log.append([b"2"]) == 2
    log.undo()
    assert log.append([b"three"]) == 2
    log.close()
    assert read(tmp_path) == [b"one", b"three"]
