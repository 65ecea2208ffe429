"""Calls a plugin's worker hooks, sync or async, from the control thread."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


class WorkerLoadError(RuntimeError):
    """The worker target cannot be imported."""


class MissingHookError(LookupError):
    """The plugin does not offer an optional hook."""


def load_worker(target: str, folders: Sequence[Path]) -> Any:
    """Import the worker object 'module:object'; a class is instantiated.

    Raises:
        WorkerLoadError: the module cannot be imported, or has no such object with an ``application`` hook.
    """
    sys.path[:0] = [str(folder) for folder in folders]
    module_name, _, name = target.partition(":")
    try:
        worker = getattr(importlib.import_module(module_name), name)
        worker = worker() if inspect.isclass(worker) else worker
    except Exception as error:
        raise WorkerLoadError(f"worker {target!r}: {type(error).__name__}: {error}") from error
    if not callable(getattr(worker, "application", None)):
        raise WorkerLoadError(f"worker {target!r} has no hook application(context)")
    return worker


class Hooks:
    """The hooks of one worker object.

    Async hooks run on the data loop. Sync hooks run one at a time in a thread of their own: they may block for long
    without holding up data or control.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fairlead-hook")

    def has(self, name: str) -> bool:
        return callable(getattr(self._worker, name, None))

    async def call(self, data_loop: asyncio.AbstractEventLoop, name: str, *arguments: Any, timeout_s: float) -> Any:
        """Call a hook from any loop and wait for its answer.

        Raises:
            MissingHookError: the plugin has no such hook.
            TimeoutError: no answer in time; a sync hook goes on in its thread.
        """
        hook = getattr(self._worker, name, None)
        if not callable(hook):
            raise MissingHookError(f"the plugin has no hook {name}")
        if inspect.iscoroutinefunction(hook):
            running = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(hook(*arguments), data_loop))
        else:
            running = asyncio.get_running_loop().run_in_executor(self._thread, hook, *arguments)
        async with asyncio.timeout(timeout_s):
            return await running

    async def on_data_loop(self, name: str, *arguments: Any) -> Any:
        """Call a hook on the data loop itself; a sync one blocks it. For start-up, when nothing is served yet."""
        answer = getattr(self._worker, name)(*arguments)
        return await answer if inspect.isawaitable(answer) else answer
