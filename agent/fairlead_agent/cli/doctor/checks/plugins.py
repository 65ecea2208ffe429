"""The installed plugins."""

from __future__ import annotations

from fairlead_agent.cli.doctor.check import Check, Finding


class InstalledPlugins(Check):
    """A plugin whose manifest does not fit is left out; here is why."""

    name = "plugins"
    question = "Do the installed plugins fit?"

    def run(self) -> Finding:
        """Look."""
        from fairlead_agent.plugin.discovery import discover

        found = list(discover())
        bad = [str(each.error) for each in found if each.error is not None]
        if bad:
            return Finding("problem", "; ".join(bad), "mend the manifest or uninstall the plugin")
        if not found:
            return Finding("warning", "no plugin is installed", "pip install fairlead-sparse-inference")
        return Finding("ok", ", ".join(each.manifest.name for each in found if each.manifest is not None))
