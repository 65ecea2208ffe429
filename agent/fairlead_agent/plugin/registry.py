"""The plugins of this node, and the only way to their light hooks.

Each plugin is called alone, in its own threads, under a deadline. What it does wrong costs its own answer: a hook
that raises or hangs becomes a refusal with the reason, and after some failures in a row the plugin is left alone for a
while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fairlead_agent.config.closest import closest
from fairlead_agent.messages.estimate import Estimate, Refusal
from fairlead_agent.messages.workload import Workload
from fairlead_agent.plugin.discovery import Found, discover
from fairlead_agent.plugin.errors import PluginFailed, PluginUnavailable
from fairlead_agent.plugin.facts import NodeFacts
from fairlead_agent.plugin.hook_threads import DEADLINE_S
from fairlead_agent.plugin.hookspecs import Description
from fairlead_agent.plugin.manifest import Manifest, Variant
from fairlead_agent.plugin.plugin import Plugin, WorkerTarget

__all__ = ["ANY_VARIANT", "PluginStatus", "PluginUnavailable", "Registry", "WorkerTarget"]

T = TypeVar("T")

#: Stands for all variants in the refusal of a plugin that cannot be asked.
ANY_VARIANT = "any"
_REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """How a plugin is doing."""

    name: str
    version: str
    source: str
    ready: bool
    reason: str = ""
    """Why it is not ready."""
    hung: tuple[str, ...] = ()
    """Hooks that have not ended, with their ages."""


class Registry:
    """Plugins by name.

    Args:
        found: what :func:`~fairlead_agent.plugin.discovery.discover` returned.
        deadline_s: how long a hook may take, loading the light module included.
        clock: monotonic seconds, for quarantines.
    """

    def __init__(
        self,
        found: Iterable[Found],
        *,
        deadline_s: float = DEADLINE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        records = list(found)
        self.rejected = tuple(record for record in records if record.error is not None)
        self._plugins = {record.name: Plugin.of(record) for record in records if record.error is None}
        self._deadline_s = deadline_s
        self._clock = clock
        for record in self.rejected:
            _warn("plugin.rejected", source=record.source, reason=record.error)

    @classmethod
    def discover(cls, paths: Iterable[Path] = (), *, deadline_s: float = DEADLINE_S) -> Registry:
        """The registry of all plugins that can be found; imports none of them."""
        return cls(discover(paths), deadline_s=deadline_s)

    def manifests(self) -> dict[str, Manifest]:
        """Manifests by name."""
        return {name: plugin.manifest for name, plugin in self._plugins.items()}

    def worker(self, plugin: str) -> WorkerTarget:
        """What a worker of the plugin is started with.

        Raises:
            PluginUnavailable: there is no such plugin, or its interpreter is missing.
        """
        return self._get(plugin).worker()

    def status(self) -> list[PluginStatus]:
        """How each plugin is doing; those that were rejected come last."""
        usable = [self._status(plugin) for plugin in self._plugins.values()]
        return usable + [PluginStatus(item.name, "", item.source, False, item.error or "") for item in self.rejected]

    async def estimate(self, workload: Workload, facts: NodeFacts) -> list[tuple[str, Estimate | Refusal]]:
        """What each variant of the workload's plugin would do on this node, or why it cannot. Never raises.

        Where the plugin cannot be asked at all there is one refusal, for the variant :data:`ANY_VARIANT`.
        """
        try:
            plugin = self._ready(workload.plugin)
        except PluginUnavailable as error:
            return [(ANY_VARIANT, Refusal(reason=_cut(str(error))))]
        facts = facts.model_copy(update={"software": {**facts.software, **plugin.software}})
        answers: dict[str, Estimate | Refusal] = {}

        def ask() -> None:
            for variant in plugin.manifest.variants:
                answers[variant.name] = self._ask(plugin, variant, workload, facts)

        missing = "was not asked"
        try:
            await plugin.threads.run("estimate", ask, self._deadline_s)
        except Exception as error:
            missing = self._note(plugin, "estimate", error)
        else:
            self._settle(plugin, answers)
        refusal = Refusal(reason=_cut(missing))
        return [(variant.name, answers.get(variant.name, refusal)) for variant in plugin.manifest.variants]

    async def validate(self, workload: Workload) -> dict[str, Any]:
        """The workload's config, checked and with its defaults.

        Raises:
            ValueError: the config does not fit; names the field, the value and what is accepted.
            PluginUnavailable: the plugin cannot be asked.
        """
        plugin = self._ready(workload.plugin)
        config = dict(workload.config)
        run = plugin.threads.run("validate", lambda: plugin.check_config(config), self._deadline_s)
        return await self._guard(plugin, "validate", run)

    def check_workload(self, workload: Workload) -> Workload:
        """The workload with its config checked and filled in. Blocks; for the control plane.

        Raises:
            ValueError: the plugin is not installed here, a variant does not exist, or the config does not fit.
        """
        try:
            plugin = self._ready(workload.plugin)
        except PluginUnavailable as error:
            raise ValueError(f"plugin: {error}") from None
        self._check_variants(plugin, workload)
        config = dict(workload.config)
        try:
            checked = plugin.threads.run_blocking("validate", lambda: plugin.check_config(config), self._deadline_s)
        except ValueError as error:
            raise ValueError(f"config: {error}") from None
        except Exception as error:
            raise ValueError(f"plugin: {self._note(plugin, 'validate', error)}") from None
        plugin.quarantine.succeeded()
        return workload.model_copy(update={"config": checked})

    async def probe(self, facts: NodeFacts) -> dict[str, dict[str, str]]:
        """Have every plugin look at the node; answers by plugin. Later estimates see them in ``facts.software``."""
        answers = await self._each("probe", lambda plugin: _probe(plugin, facts))
        for name, answer in answers.items():
            self._plugins[name].software = answer
        return answers

    async def describe(self) -> dict[str, Description]:
        """What every plugin says of itself; those that fail are left out."""
        return await self._each("describe", _describe)

    def failures(self) -> dict[str, str]:
        """The last failure of each plugin whose last call failed, by name."""
        return {name: plugin.quarantine.reason for name, plugin in self._plugins.items() if plugin.quarantine.count}

    # --- one call ----------------------------------------------------------------------------------------------

    def _ask(self, plugin: Plugin, variant: Variant, workload: Workload, facts: NodeFacts) -> Estimate | Refusal:
        try:
            answer = plugin.call("estimate", workload=workload, variant=variant.name, facts=facts)
        except PluginUnavailable:
            raise
        except Exception as error:
            return _Failure(reason=_cut(f"estimate failed: {type(error).__name__}: {error}"))
        if answer is None:
            return Refusal(reason=f"the plugin does not serve {variant.name!r}")
        if isinstance(answer, Refusal):
            return answer
        if not isinstance(answer, Estimate):
            return _Failure(reason=f"estimate returned {type(answer).__name__}; accepted: Estimate, Refusal")
        needed = tuple(dict.fromkeys((*answer.needs_real, *variant.needs_real)))
        return answer.model_copy(update={"needs_real": needed})

    def _settle(self, plugin: Plugin, answers: dict[str, Estimate | Refusal]) -> None:
        failure = next((answer for answer in answers.values() if isinstance(answer, _Failure)), None)
        if failure is None:
            plugin.quarantine.succeeded()
        else:
            self._failed(plugin, "estimate", failure.reason)

    async def _each(self, hook: str, call: Callable[[Plugin], T]) -> dict[str, T]:
        ready = [plugin for plugin in self._plugins.values() if plugin.quarantine.objection(self._clock()) is None]
        results = await asyncio.gather(*(self._one(plugin, hook, call) for plugin in ready), return_exceptions=True)
        return {
            plugin.manifest.name: result
            for plugin, result in zip(ready, results, strict=True)
            if not isinstance(result, BaseException)
        }

    async def _one(self, plugin: Plugin, hook: str, call: Callable[[Plugin], T]) -> T:
        return await self._guard(plugin, hook, plugin.threads.run(hook, lambda: call(plugin), self._deadline_s))

    async def _guard(self, plugin: Plugin, hook: str, run: Awaitable[T]) -> T:
        try:
            answer = await run
        except ValueError:
            if hook != "validate":
                raise
            plugin.quarantine.succeeded()
            raise
        except Exception as error:
            raise PluginUnavailable(self._note(plugin, hook, error)) from error
        plugin.quarantine.succeeded()
        return answer

    # --- bookkeeping -------------------------------------------------------------------------------------------

    def _get(self, name: str) -> Plugin:
        plugin = self._plugins.get(name)
        if plugin is not None:
            return plugin
        rejected = next((record for record in self.rejected if record.name == name), None)
        if rejected is not None:
            raise PluginUnavailable(f"plugin {name!r} does not fit: {rejected.error}")
        close = closest(name, self._plugins)
        hint = f"did you mean {close!r}?" if close else f"there are {', '.join(sorted(self._plugins)) or 'none'}"
        raise PluginUnavailable(f"plugin {name!r} is not installed here; {hint}")

    def _ready(self, name: str) -> Plugin:
        plugin = self._get(name)
        objection = plugin.quarantine.objection(self._clock())
        if objection is not None:
            raise PluginUnavailable(f"plugin {name!r} is {objection}")
        return plugin

    def _note(self, plugin: Plugin, hook: str, error: Exception) -> str:
        """Count a failure; returns what to say of it."""
        known = isinstance(error, PluginFailed | PluginUnavailable)
        reason = str(error) if known else f"{hook} failed: {type(error).__name__}: {error}"
        self._failed(plugin, hook, reason, hopeless=isinstance(error, PluginUnavailable))
        return f"plugin {plugin.manifest.name!r}: {reason}"

    def _failed(self, plugin: Plugin, hook: str, reason: str, *, hopeless: bool = False) -> None:
        plugin.quarantine.failed(reason, self._clock(), hopeless=hopeless)
        _warn("plugin.failed", plugin=plugin.manifest.name, hook=hook, reason=reason)

    def _status(self, plugin: Plugin) -> PluginStatus:
        objection = plugin.quarantine.objection(self._clock())
        manifest, hung = plugin.manifest, tuple(plugin.threads.hung())
        return PluginStatus(
            manifest.name, manifest.version, plugin.found.source, objection is None, objection or "", hung
        )

    def _check_variants(self, plugin: Plugin, workload: Workload) -> None:
        names = [variant.name for variant in plugin.manifest.variants]
        for name in workload.constraints.variants:
            if name not in names:
                raise ValueError(f"constraints.variants: {name!r} is no variant of {workload.plugin!r}; it has {names}")


class _Failure(Refusal):
    """A refusal that stands for a hook that failed."""


def _probe(plugin: Plugin, facts: NodeFacts) -> dict[str, str]:
    answer = plugin.call("probe", facts=facts)
    if answer is None:
        return {}
    if not isinstance(answer, dict):
        raise PluginFailed(f"probe returned {type(answer).__name__}; accepted: a dict of texts, or None")
    return {str(name): str(value) for name, value in answer.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _describe(plugin: Plugin) -> Description:
    answer = plugin.call("describe")
    if answer is None:
        return Description(summary=plugin.manifest.summary)
    if not isinstance(answer, Description):
        raise PluginFailed(f"describe returned {type(answer).__name__}; accepted: Description, or None")
    return answer


def _warn(event: str, **values: Any) -> None:
    # Imported at need: structlog costs a process 10 MiB where rich is installed, and most plugins never fail.
    import structlog

    structlog.get_logger().warning(event, **values)


def _cut(text: str) -> str:
    return text if len(text) <= _REASON_LENGTH else text[: _REASON_LENGTH - 3] + "..."
