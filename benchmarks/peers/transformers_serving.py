"""transformers' continuous batching as one instance of the serving benchmarks.

Its manager computes on a thread of this process, with as many blocks of its paged cache as the bytes allow that the
weights leave. Block sharing is off, as no prompt repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

from benchmarks.serving.replay import News, answer_parent, claim_output, pin

PAGE_TOKENS = 32


class TransformersEngine:
    """One continuous batching manager with the given number of blocks."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.block_bytes = asked.token_bytes * PAGE_TOKENS
        self.blocks = (asked.budget_bytes - asked.weight_bytes) // self.block_bytes
        model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=getattr(torch, asked.dtype)).eval()
        self._manager = model.init_continuous_batching(
            GenerationConfig(do_sample=False, eos_token_id=-1, max_new_tokens=asked.context),
            ContinuousBatchingConfig(
                page_size=PAGE_TOKENS,
                num_blocks=self.blocks,
                max_batch_tokens=asked.step_tokens,
                max_requests_per_batch=asked.sequences,
                allow_block_sharing=False,
                use_async_batching=False,
            ),
        )
        self._manager.start()
        self._seen: dict[str, int] = {}

    def submit(self, name: str, prompt: list[int], count: int) -> None:
        """Begin a request."""
        self._seen[name] = 0
        self._manager.add_request(prompt, request_id=name, max_new_tokens=count, streaming=True, eos_token_id=-1)

    def poll(self, timeout_s: float) -> list[News]:
        """Whatever came, after the first that does."""
        found: list[News] = []
        output = self._manager.get_result(timeout=max(timeout_s, 1e-4))
        while output is not None:
            found.append(self._news(output))
            empty = self._manager.output_router.output_queue.empty()
            output = None if empty else self._manager.get_result(timeout=1e-4)
        return found

    def _news(self, output: Any) -> News:
        name, tokens = output.request_id, output.generated_tokens
        fresh, self._seen[name] = tokens[self._seen[name] :], len(tokens)
        return News(name, time.monotonic(), fresh, output.is_finished(), str(output.error or ""))

    def gauge(self) -> Mapping[str, float]:
        """What the blocks hold at most."""
        return {"capacity": float(self.blocks * self.block_bytes)}

    def told(self) -> Mapping[str, Any]:
        """Nothing: it counts nothing that could be asked for."""
        return {}

    def close(self) -> None:
        """End its thread."""
        self._manager.stop(block=False)


def main() -> None:
    """Load, say so, and answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--dtype", default="float32")
    for name in ("budget-bytes", "weight-bytes", "token-bytes", "context", "sequences", "step-tokens", "vocabulary"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--core", type=int, default=None)
    asked = parser.parse_args()
    out = claim_output()
    pin(asked.core)
    torch.set_num_threads(asked.threads)
    engine = TransformersEngine(asked)
    ready = {
        "name": "transformers",
        "version": transformers.__version__,
        "kv_bytes": engine.blocks * engine.block_bytes,
        "weight_bytes": asked.weight_bytes,
    }
    answer_parent(out, engine, ready, asked.seed, asked.vocabulary)


if __name__ == "__main__":
    main()
