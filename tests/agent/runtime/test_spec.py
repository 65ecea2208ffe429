"""Spec files: private, exact, and clear about what is wrong with them."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import pytest
from pydantic import ValidationError

from fairlead_agent.runtime.exits import Exit
from fairlead_agent.runtime.process import HOST_MODULE, environment
from fairlead_agent.runtime.spec import SpecError, read_spec
from tests.patience import patient


def test_it_reads_as_it_was_written_and_is_private(host_spec):
    host_spec.write()
    assert stat.S_IMODE(host_spec.path.stat().st_mode) == 0o600
    assert read_spec(host_spec.path) == host_spec
    assert [path.name for path in host_spec.folder.iterdir()] == ["spec.json"]


def test_the_cookie_is_in_no_text_of_it(host_spec):
    assert host_spec.cookie not in repr(host_spec) and host_spec.cookie not in str(host_spec)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("worker", "no colon", "worker"),
        ("tcp_port", 70000, "tcp_port"),
        ("cookie", "short", "cookie"),
        ("data_socket", "/" + "x" * 120, "no Unix socket can have"),
        ("generation", 0, "generation"),
    ],
)
def test_a_field_that_does_not_fit_is_named(host_spec, field, value, said):
    fields = {**host_spec.model_dump(mode="json"), field: value}
    host_spec.path.write_text(json.dumps(fields))
    with pytest.raises(SpecError) as error:
        read_spec(host_spec.path)
    assert str(host_spec.path) in str(error.value) and said in str(error.value)
    with pytest.raises(ValidationError):
        type(host_spec).model_validate(fields)


def test_the_host_says_what_is_wrong_with_its_spec(host_spec):
    for text in (None, '{"node": "UPPER"}'):
        if text is not None:
            host_spec.path.write_text(text)
        command = [sys.executable, "-m", HOST_MODULE, str(host_spec.path)]
        done = subprocess.run(command, env=environment(host_spec), capture_output=True, text=True, timeout=patient(30))
        assert done.returncode == Exit.BAD_SPEC
        assert str(host_spec.path) in done.stderr and "Traceback" not in done.stderr
