"""The command group. A command's module is imported only when that command runs."""

from __future__ import annotations

import difflib
import importlib

import click
from click.shell_completion import CompletionItem

import fairlead_agent
from fairlead_agent.cli.errors import CliError

#: name -> (module:object, summary)
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("fairlead_agent.cli.up:up", "Start a local fleet and answer a request."),
    "agent": ("fairlead_agent.cli.agent:agent", "Run the agent of this device."),
    "control-plane": ("fairlead_cloud.commands:control_plane", "Run control plane, gateway and dashboard."),
    "authority": ("fairlead_cloud.commands:authority", "Run a site's stand-alone authority."),
    "token": ("fairlead_agent.cli.token:token", "Make, list, show and revoke access tokens."),
    "apply": ("fairlead_agent.cli.apply:apply", "Apply workloads from YAML files."),
    "get": ("fairlead_agent.cli.get:get", "Show workloads, nodes, placements and leases."),
    "delete": ("fairlead_agent.cli.delete:delete", "Delete a workload."),
    "explain": ("fairlead_agent.cli.explain:explain", "Say why a workload runs where it runs."),
    "chat": ("fairlead_agent.cli.chat:chat", "Talk to a workload that serves a language model."),
    "graph": ("fairlead_agent.cli.graph:graph", "Show the resource graph as a tree."),
    "logs": ("fairlead_agent.cli.logs:logs", "Show the log of a workload's instances."),
    "events": ("fairlead_agent.cli.events:events", "Follow what happens."),
    "doctor": ("fairlead_agent.cli.doctor.command:doctor", "Check this device and say what to mend."),
    "plugins": ("fairlead_agent.plugin.commands:plugins", "List, validate and start plugins."),
    "completion": ("fairlead_agent.cli.completion:completion", "Print a shell's completion script."),
}


class LazyGroup(click.Group):
    """Built-in commands by table, plugins' commands by their manifests."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, plugins' ones last."""
        return [*COMMANDS, *sorted(plugin_commands())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        target = COMMANDS.get(cmd_name, (None, ""))[0] or plugin_commands().get(cmd_name, (None, ""))[0]
        return _load(cmd_name, target) if target is not None else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer names without importing any command: one that lacks its package must not take the others with it."""
        rows = {**COMMANDS, **plugin_commands()}
        offered = [CompletionItem(name, help=rows[name][1]) for name in self.list_commands(ctx)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(item for item in offered if item.value.startswith(incomplete)), *options]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; of a slip of the pen, say what was probably meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not close or "did you mean" in error.message.lower():
                raise
            raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List names and summaries without importing any command."""
        rows = [(name, summary) for name, (_, summary) in COMMANDS.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        if plugin_rows := [(name, summary) for name, (_, summary) in sorted(plugin_commands().items())]:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(plugin_rows)


def plugin_commands() -> dict[str, tuple[str, str]]:
    """The commands that plugin manifests declare: name -> (module:object, summary)."""
    from fairlead_agent.plugin.discovery import discover

    return {
        command.name: (command.target, command.summary)
        for found in discover()
        if found.manifest is not None
        for command in found.manifest.commands
        if command.name not in COMMANDS
    }


def _load(name: str, target: str) -> click.Command:
    module_name, _, attribute = target.partition(":")
    try:
        command = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise CliError(f"fairlead {name}: needs the package {error.name!r}, which is not installed") from None
    if not isinstance(command, click.Command):
        raise CliError(f"fairlead {name}: {target} is no click command")
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(fairlead_agent.__version__, prog_name="fairlead")
def main() -> None:
    """Put AI work where it runs best, from a phone to a GPU server."""
