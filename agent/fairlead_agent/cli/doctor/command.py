"""The command."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import asdict

import click

from fairlead_agent.cli.doctor import checks
from fairlead_agent.cli.doctor.check import Check, Finding
from fairlead_agent.cli.output import Column, console, json_option, print_json, progress, styled, table


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this device and say what to mend. Exit status 1 where there is a problem."""
    with progress("checking"):
        found = [(check, run(check)) for check in all_checks()]
    if as_json:
        print_json([{"name": check.name, "question": check.question, **asdict(finding)} for check, finding in found])
    else:
        rows = [(check.name, styled(finding.level), finding.what, finding.mend) for check, finding in found]
        columns = ("check", Column("", 0), Column("found", wraps=True), Column("what to do", wraps=True))
        console().print(table("", columns, rows))
    ctx.exit(1 if any(finding.level == "problem" for _, finding in found) else 0)


def all_checks() -> list[Check]:
    """Every check in the folder, by module name."""
    for module in sorted(pkgutil.iter_modules(checks.__path__), key=lambda module: module.name):
        importlib.import_module(f"{checks.__name__}.{module.name}")
    return [cls() for cls in Check.__subclasses__()]


def run(check: Check) -> Finding:
    """Run a check; one that breaks is a problem of its own, not the end of the others."""
    try:
        return check.run()
    except Exception as error:
        return Finding("problem", f"the check itself failed: {type(error).__name__}: {error}", "report this")
