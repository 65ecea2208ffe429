"""llama.cpp decoding greedily in a process of its own: JSON lines in, JSON lines out (see ``decoding_process.py``).

Runs in any interpreter that has llama-cpp-python: it imports nothing else of this project. The loop is the library's
own calls without sampler and text, which is the least overhead that llama.cpp can have.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import time
from typing import Any

import llama_cpp
import numpy as np

BATCH = 512


class Model:
    """A model and one context over it."""

    def __init__(self, path: str, threads: int, context: int, repack: bool) -> None:
        self._quiet = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        chosen = llama_cpp.llama_model_default_params()
        chosen.n_gpu_layers, chosen.use_mmap, chosen.use_extra_bufts = 0, True, repack
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), chosen)
        if not self._model:
            raise RuntimeError(f"{path}: llama.cpp does not load it")
        asked = llama_cpp.llama_context_default_params()
        asked.n_ctx, asked.n_batch, asked.n_ubatch = context, BATCH, BATCH
        asked.n_threads = asked.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, asked)
        if not self._context:
            raise RuntimeError(f"{path}: llama.cpp makes no context of {context} tokens")
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))

    def greedy(self, prompt: list[int], count: int) -> dict[str, Any]:
        """``count`` tokens after a prompt, with the seconds of the prompt and of what follows the first token."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        began = time.perf_counter()
        tokens = [self._next(prompt)]
        first = time.perf_counter()
        while len(tokens) < count:
            tokens.append(self._next(tokens[-1:]))
        return {"tokens": tokens, "prefill_s": first - began, "decode_s": time.perf_counter() - first}

    def _next(self, tokens: list[int]) -> int:
        given = (llama_cpp.llama_token * len(tokens))(*tokens)
        if llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(given, len(tokens))):
            raise RuntimeError(f"llama.cpp does not decode {len(tokens)} tokens")
        logits = llama_cpp.llama_get_logits_ith(self._context, -1)
        return int(np.ctypeslib.as_array(logits, (self._vocabulary,)).argmax())


def main() -> None:
    """Load, say so, and answer until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--no-repack", action="store_true", help="weights stay in the mapped file")
    asked = parser.parse_args()
    model = Model(asked.model, asked.threads, asked.context, not asked.no_repack)
    system = llama_cpp.llama_print_system_info().decode()
    print(json.dumps({"ready": f"llama-cpp-python {llama_cpp.__version__}", "system": system}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(model.greedy(request["prompt"], request["count"])), flush=True)


if __name__ == "__main__":
    main()
