"""Workers that go wrong in one way each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any


class RaisesInPrepare:
    def prepare(self, context: Any) -> None:
        print("the last words of this worker", file=sys.stderr)
        raise RuntimeError("no such tensor")

    def application(self, context: Any) -> Any:
        return None


class ExitsSilently:
    def application(self, context: Any) -> Any:
        os._exit(7)


class RefusesToStart:
    """Its lifespan start-up fails."""

    def application(self, context: Any) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no disk"})

        return serve


class Greedy:
    """Takes more memory than it may, in a child process if told so."""

    def prepare(self, context: Any) -> None:
        mebibytes = int(context.config["mebibytes"])
        take = f"import time; held = b'x' * ({mebibytes} * 2**20); time.sleep(60)"
        if context.config.get("child"):
            subprocess.run([sys.executable, "-c", take], check=True)
        else:
            exec(take, {})

    def application(self, context: Any) -> Any:
        return None


class LeavesChildren:
    """Starts a child that would outlive it."""

    def prepare(self, context: Any) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        context.publish_fact("child", "pid", float(child.pid))

    def application(self, context: Any) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            threading.Event().wait(0)

        return serve


class TalksMuch:
    """Reports every step of very many, until a file is there."""

    def prepare(self, context: Any) -> None:
        for step in count():
            context.progress(0.5, f"step {step}")
            time.sleep(0.004)
            if Path(context.config["until"]).exists():
                break

    def application(self, context: Any) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            raise RuntimeError("serves nothing")

        return serve


no_hooks = object()
