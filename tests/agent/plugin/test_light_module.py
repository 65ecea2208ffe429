"""Light modules of packages that are being installed at that moment."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fairlead_agent.plugin.errors import PluginUnavailable
from fairlead_agent.plugin.light_module import load_target


def package(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    (folder / name / "light.py").write_text("from .late import plugin\n")
    return folder / name


def test_a_module_that_appears_a_moment_later_is_found(tmp_path: Path) -> None:
    made = package(tmp_path, "being_installed")
    timer = threading.Timer(0.1, (made / "late.py").write_text, ("plugin = 7\n",))
    timer.start()
    assert load_target("being_installed.light:plugin", [tmp_path]) == 7
    timer.join()


def test_a_module_that_never_appears_is_named(tmp_path: Path) -> None:
    package(tmp_path, "half_installed")
    with pytest.raises(PluginUnavailable, match=r"half_installed\.light: cannot be imported: .*half_installed\.late"):
        load_target("half_installed.light:plugin", [tmp_path])
