"""PowerInfer's public program, run once for each answer; the times are those that it prints itself."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.decoding_process import Answer
from benchmarks.synthetic.gguf_files import prompt_text
from benchmarks.synthetic.shape import FIRST_STATE

_TIMING = re.compile(r"(prompt eval|eval) time\s*=\s*([\d.]+) ms\s*/\s*(\d+)")
_FIRST_CHARACTER = 0x4E00


@dataclass(frozen=True, slots=True)
class PowerInfer:
    """The ``main`` program, a model in its format, and a number of threads."""

    binary: Path
    model: Path
    threads: int
    context: int = 512

    def greedy(self, prompt: Sequence[int], count: int, timeout_s: float = 600) -> Answer:
        """``count`` tokens after a prompt of the synthetic vocabulary.

        Raises:
            RuntimeError: the program fails, takes too long, or prints no times.
        """
        command = [str(self.binary), "-m", str(self.model), "-p", prompt_text(list(prompt)), "-n", str(count)]
        command += ["-t", str(self.threads), "-c", str(self.context), "--temp", "0", "--repeat-penalty", "1.0"]
        command += ["--ignore-eos", "--log-disable"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"PowerInfer: {error}") from error
        told = done.stderr.decode(errors="replace")
        times = {name: (float(ms) / 1e3, int(runs)) for name, ms, runs in _TIMING.findall(told)}
        if done.returncode or len(times) < 2:
            raise RuntimeError(f"PowerInfer ended with {done.returncode}: {told[-500:]}")
        text = done.stdout.decode(errors="replace")
        tokens = [ord(letter) - _FIRST_CHARACTER + FIRST_STATE for letter in text if ord(letter) >= _FIRST_CHARACTER]
        seconds, runs = times["eval"]
        scale = (count - 1) / max(1, runs)
        return Answer(tuple(tokens[-count:]), times["prompt eval"][0], seconds * scale, {})

    def close(self) -> None:
        """Nothing stays open between answers."""
