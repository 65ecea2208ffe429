"""What the measurements themselves rest on."""

from __future__ import annotations

import os
import time

import pytest

from benchmarks.agent_idle import MIB, processor_s, resident_bytes


def test_memory_and_processor_time_of_a_process_are_read() -> None:
    before = resident_bytes(os.getpid())
    held = bytearray(os.urandom(32 * MIB))
    assert resident_bytes(os.getpid()) - before > 24 * MIB
    assert len(held) == 32 * MIB
    used, own = processor_s(os.getpid()), time.process_time()
    while time.process_time() - own < 0.2:
        pass
    assert 0.1 < processor_s(os.getpid()) - used < 5


def test_ours_and_the_peer_answer_with_the_same_tokens() -> None:
    """Otherwise their speeds could not be compared."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("fairlead_kernels", reason="the kernels are not installed")
    from benchmarks.decode import PROMPT, Ours, load_peer, same
    from fairlead_sparse_inference.settings import DEFAULT_MODEL, MODELS

    if not (MODELS / DEFAULT_MODEL / "config.json").exists():
        pytest.skip(f"the model {DEFAULT_MODEL} does not lie beside the plugin")
    ours = Ours()
    peer = load_peer(ours.model.end_tokens)
    assert peer is not None
    prompt = ours.model.tokenizer.encode(PROMPT)
    tokens, speed = ours.greedy(prompt, 12, 1)
    others, _ = peer.greedy(prompt, 12, 1)
    ours.close()
    assert same(tokens, others) == 12
    assert speed > 0


def test_agreement_is_counted_up_to_the_first_difference() -> None:
    pytest.importorskip("fairlead_kernels", reason="the kernels are not installed")
    from benchmarks.decode import same

    assert same([1, 2, 3], [1, 2, 3]) == 3
    assert same([1, 2, 3], [1, 9, 3]) == 1
    assert same([], []) == 0
