"""The agent's side of the runtime stays light."""

from __future__ import annotations

import subprocess
import sys

from tests.patience import patient

HEAVY = ("uvicorn", "starlette", "fastapi", "numpy", "torch", "onnxruntime", "prometheus_client", "httpx")


def test_the_supervisor_imports_nothing_heavy():
    script = (
        "import sys, fairlead_agent.runtime.supervisor, fairlead_agent.runtime.relay, fairlead_agent.runtime.logging;"
        f"print([name for name in {HEAVY!r} if name in sys.modules],"
        "[name for name in sys.modules if name.startswith('fairlead_agent.runtime.host')])"
    )
    done = _python(script)
    assert done.stdout.strip() == "[] []"


def test_a_host_without_uvicorn_names_the_extra(host_spec):
    from fairlead_agent.runtime.exits import Exit
    from fairlead_agent.runtime.process import HOST_MODULE, environment
    from fairlead_agent.runtime.spec import read_outcome

    host_spec.write()
    script = (
        "import sys, runpy; sys.modules['uvicorn'] = None;"
        f"sys.argv = ['host', {str(host_spec.path)!r}]; runpy.run_module({HOST_MODULE!r}, run_name='__main__')"
    )
    done = _python(script, check=False, env=environment(host_spec))
    assert done.returncode == Exit.MISSING_EXTRA
    outcome = read_outcome(host_spec.outcome_path)
    assert outcome is not None and "fairlead-agent[worker]" in outcome.reason


def test_structlog_comes_without_rich_and_rich_can_still_be_imported():
    script = (
        "import sys; from fairlead_agent.runtime.logging import configure; configure('console');"
        "print('rich.console' in sys.modules); import rich.console; print(rich.console.Console.__name__)"
    )
    done = _python(script)
    assert done.stdout.split() == ["False", "Console"]


def _python(script, *, check=True, env=None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=patient(60), check=check)
