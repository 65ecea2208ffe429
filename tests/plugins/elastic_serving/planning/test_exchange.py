"""What moves after a drop, and in which parts; how it moves is tested with groups."""

from __future__ import annotations

from fairlead_elastic_serving.planning.exchange import Stored, chunk_tokens, worth_moving


def test_long_answers_move_and_short_ones_stay() -> None:
    link = {"layer_token_bytes": 1000.0, "query_bytes": 8000.0, "bytes_per_s": 1e9, "latency_s": 1e-5}
    assert worth_moving(Stored("a", "i0", 2000, 500), **link)
    assert not worth_moving(Stored("a", "i0", 2000, 10), **link)


def test_a_chunk_takes_about_a_stages_time() -> None:
    assert chunk_tokens(0.01, 1e9, 1000.0) == 10_000
    assert chunk_tokens(1e-9, 1e3, 1e6) == 1
