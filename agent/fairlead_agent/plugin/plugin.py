"""One plugin of this node: its manifest, its light hooks once they are loaded, and how it has behaved."""

from __future__ import annotations

import inspect
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pluggy

from fairlead_agent.plugin.config_check import ConfigCheck, config_check
from fairlead_agent.plugin.discovery import Found
from fairlead_agent.plugin.errors import PluginFailed, PluginUnavailable
from fairlead_agent.plugin.hook_threads import HookThreads
from fairlead_agent.plugin.hookspecs import PROJECT, LightHooks
from fairlead_agent.plugin.light_module import HeavyImports, load_light
from fairlead_agent.plugin.manifest import Manifest
from fairlead_agent.plugin.quarantine import Quarantine


@dataclass(frozen=True, slots=True)
class WorkerTarget:
    """What a worker host is started with."""

    plugin: str
    target: str
    """``module:object`` with the worker hooks."""
    python: Path | None
    """The worker's interpreter; None: the agent's own."""
    sys_path: tuple[Path, ...]


@dataclass(slots=True)
class Plugin:
    """A plugin whose manifest fits. Its light module is imported by the first hook that is called."""

    found: Found
    manifest: Manifest
    threads: HookThreads
    quarantine: Quarantine = field(default_factory=Quarantine)
    software: dict[str, str] = field(default_factory=dict[str, str])
    """What ``probe`` answered."""
    _hooks: pluggy.PluginManager | None = None
    _check: ConfigCheck | None = None
    _broken: PluginUnavailable | None = None
    _loading: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, found: Found) -> Plugin:
        """The plugin of a record without an error."""
        assert found.manifest is not None
        return cls(found, found.manifest, HookThreads(found.manifest.name))

    def call(self, hook: str, **arguments: Any) -> Any:
        """Call one hook, in this thread; None where the plugin does not implement it.

        Raises:
            PluginUnavailable: its light module cannot be loaded.
            PluginFailed: the hook is a coroutine function.
            Exception: what the hook raised.
        """
        manager = self._loaded()
        # Alone, though it is the manager's only one: the call must not change when more are registered.
        others = [plugin for plugin in manager.get_plugins() if manager.get_name(plugin) != self.manifest.name]
        with HeavyImports() as heavy:
            answer = manager.subset_hook_caller(hook, others)(**arguments)
        if pulled_in := heavy.found():
            raise PluginFailed(f"{hook} imported {', '.join(pulled_in)}, which only a worker may")
        if inspect.iscoroutine(answer):
            answer.close()
            raise PluginFailed(f"{hook} is a coroutine; light hooks are plain functions")
        return answer

    def implements(self, hook: str) -> bool:
        """Whether the plugin has that hook. Loads the light module."""
        return bool(getattr(self._loaded().hook, hook).get_hookimpls())

    def check_config(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config with its defaults: first the manifest's schema, then the ``validate`` hook.

        Raises:
            ValueError: names the field, the value and what is accepted.
        """
        self._loaded()
        assert self._check is not None
        checked = self._check(config)
        answer = self.call("validate", config=checked)
        if answer is None:
            return checked
        if not isinstance(answer, dict):
            raise PluginFailed(f"validate returned {type(answer).__name__}; accepted: a dict, or None")
        return cast("dict[str, Any]", answer)

    def worker(self) -> WorkerTarget:
        """What to start a worker with.

        Raises:
            PluginUnavailable: the manifest names an interpreter that is not there.
        """
        python = self._python()
        if python is not None and not python.is_file():
            raise PluginUnavailable(f"plugin {self.manifest.name!r}: python: {python} does not exist")
        return WorkerTarget(self.manifest.name, self.manifest.worker, python, self.found.sys_path)

    def _python(self) -> Path | None:
        if self.manifest.python is None:
            return None
        named = Path(self.manifest.python).expanduser()
        return named if self.found.folder is None else self.found.folder / named

    def _loaded(self) -> pluggy.PluginManager:
        with self._loading:
            # What failed once is not tried again: a second import would find the modules of the first and pass.
            if self._broken is not None:
                raise PluginUnavailable(str(self._broken))
            if self._hooks is None:
                try:
                    self._hooks = self._load()
                except PluginUnavailable as error:
                    self._broken = error
                    raise
            return self._hooks

    def _load(self) -> pluggy.PluginManager:
        light = load_light(self.manifest.light, self.found.sys_path)
        self._check = config_check(self.manifest.config_schema, self.found.sys_path)
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(LightHooks)
        try:
            manager.register(light, self.manifest.name)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError, TypeError) as error:
            raise PluginUnavailable(f"{self.manifest.light}: {' '.join(str(error).split())}") from error
        if not manager.hook.estimate.get_hookimpls():
            raise PluginUnavailable(f"{self.manifest.light}: has no estimate hook marked with @hookimpl")
        return manager
