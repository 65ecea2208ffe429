"""Arguments that a shell completes with the names that there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from fairlead_agent.cli.errors import CliError

#: A shell that waits for its completion feels dead.
TIMEOUT_S = 1.0


def workload_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The control plane's workloads; nothing where it does not answer."""
    from fairlead_agent.cli.api_client import find_client

    try:
        client = find_client(ctx.params.get("url"), ctx.params.get("token"))
        known = client.get("/api/v1/workloads", timeout_s=TIMEOUT_S)
    except CliError:
        return []
    return [
        CompletionItem(each["name"], help=f"{each['ready']} of {each['workload']['replicas']} replicas serve")
        for each in known
        if each["name"].startswith(incomplete)
    ]


def shipped_names(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """The shipped files of a kind, then paths."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from fairlead_agent.config import known_configs

        names = [CompletionItem(name) for name in known_configs(kind) if name.startswith(incomplete)]
        return [*names, CompletionItem(incomplete, type="file")]

    return complete


def workload_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument WORKLOAD."""
    return click.argument("workload", shell_complete=workload_names)(command)
