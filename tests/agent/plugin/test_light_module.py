"""Light modules of packages that are being installed at that moment."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from fairlead_agent.plugin import light_module
from fairlead_agent.plugin.errors import PluginUnavailable
from fairlead_agent.plugin.light_module import load_target


def package(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    (folder / name / "light.py").write_text("from .late import plugin\n")
    return folder / name


def test_a_module_that_appears_a_moment_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = package(tmp_path, "being_installed")
    waited: list[float] = []

    def install(seconds: float) -> None:
        waited.append(seconds)
        (made / "late.py").write_text("plugin = 7\n")

    monkeypatch.setattr(light_module, "time", SimpleNamespace(sleep=install))
    assert load_target("being_installed.light:plugin", [tmp_path]) == 7
    assert waited == [light_module.INSTALLING_S]


def test_a_module_that_never_appears_is_named(tmp_path: Path) -> None:
    package(tmp_path, "half_installed")
    with pytest.raises(PluginUnavailable, match=r"half_installed\.light: cannot be imported: .*half_installed\.late"):
        load_target("half_installed.light:plugin", [tmp_path])


def test_plugins_are_imported_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"one_of_many_{number}" for number in range(8)]
    for name in names:
        (package(tmp_path, name) / "late.py").write_text("plugin = 7\n")
    # Relative entries are dropped each time that caches are forgotten: all threads drop the same ones.
    for number in range(20_000):
        monkeypatch.setitem(sys.path_importer_cache, f"gone-{number}", None)
    start = threading.Barrier(len(names))

    def load(name: str) -> object:
        start.wait()
        return load_target(f"{name}.light:plugin", [tmp_path])

    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(load, names)) == [7] * len(names)
