"""Engines in processes of their own, asked for greedy answers over JSON lines.

A request is ``{"prompt": [ids], "count": n}``, an answer ``{"tokens": [ids], "prefill_s": ..., "decode_s": ...}`` and
whatever else the engine tells. Seconds of decoding count from the first new token to the last. An engine waits for its
next request asleep, so that engines which are measured in turn do not disturb each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.memory_group import MemoryGroup

START_S, ANSWER_S = 300.0, 900.0


class EngineEnded(RuntimeError):
    """The process ended, or said nothing for too long. ``killed``: by the memory limit."""

    def __init__(self, message: str, *, killed: bool = False) -> None:
        super().__init__(message)
        self.killed = killed


@dataclass(frozen=True, slots=True)
class Answer:
    """What a prompt was continued with.

    Attributes:
        tokens: what was decoded.
        prefill_s: seconds to the first token; decode_s: from there to the last.
        told: what else the engine says.
    """

    tokens: tuple[int, ...]
    prefill_s: float
    decode_s: float
    told: Mapping[str, Any]

    @property
    def tokens_per_s(self) -> float:
        """Decoding speed."""
        return (len(self.tokens) - 1) / self.decode_s


class Decodes(Protocol):
    """Something that continues prompts greedily."""

    def greedy(self, prompt: Sequence[int], count: int) -> Answer:
        """``count`` tokens after a prompt."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class DecodingProcess:
    """A worker program that speaks the protocol above."""

    def __init__(
        self, command: Sequence[str], *, group: MemoryGroup | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it and wait until it is ready.

        Args:
            command: program and arguments.
            group: a memory limit to start it under.
            environment: variables to set.

        Raises:
            EngineEnded: it did not become ready.
        """
        self._group, self._log = group, bytearray()
        enter = None if group is None else group.enter
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=enter,
            env={**os.environ, **(environment or {})},
        )
        self._buffer = b""
        self.ready: Mapping[str, Any] = self._line(START_S)

    def greedy(self, prompt: Sequence[int], count: int, timeout_s: float = ANSWER_S) -> Answer:
        """``count`` tokens after a prompt.

        Raises:
            EngineEnded: it ended, or took longer than ``timeout_s``.
        """
        content = self.ask({"prompt": list(prompt), "count": count}, timeout_s)
        return Answer(tuple(content.pop("tokens")), content.pop("prefill_s"), content.pop("decode_s"), content)

    def ask(self, request: Mapping[str, Any], timeout_s: float = ANSWER_S) -> dict[str, Any]:
        """Any request, and its answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is told when the answer is missing
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        return self._line(timeout_s)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _line(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None and self._process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            selector.register(self._process.stderr, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                ready = selector.select(timeout_s)
                if not ready:
                    self._process.kill()
                    raise EngineEnded(f"said nothing for {timeout_s:g} s")
                for key, _ in ready:
                    self._take(selector, key.fd, key.fileobj is self._process.stdout)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _take(self, selector: selectors.BaseSelector, descriptor: int, answer: bool) -> None:
        content = os.read(descriptor, 1 << 16)
        if not content and answer:
            code = self._process.wait()
            self._take_last_words()
            killed = self._group is not None and self._group.kills() > 0
            reason = "killed by the memory limit" if killed else f"ended with {code}"
            raise EngineEnded(f"{reason}; {bytes(self._log[-200:]).decode(errors='replace')}", killed=killed)
        if not content:
            selector.unregister(descriptor)
        elif answer:
            self._buffer += content
        else:
            self._log += content

    def _take_last_words(self) -> None:
        """What an ended process has said and nobody read yet; whoever inherited its pipe is not waited for."""
        assert self._process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stderr, selectors.EVENT_READ)
            while selector.select(0) and (content := os.read(self._process.stderr.fileno(), 1 << 16)):
                self._log += content


def forget_cached(folder: Path) -> None:
    """Let the page cache forget a file or a folder's files, so that a limit counts what a process reads of them."""
    for path in [folder] if folder.is_file() else [entry for entry in folder.rglob("*") if entry.is_file()]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
