"""The command group `fairlead sparse`; a command's module is imported only when that command runs."""

from __future__ import annotations

import importlib

import click

_HERE = "fairlead_sparse_inference.sparsity"
#: name -> (module:object, summary)
COMMANDS: dict[str, tuple[str, str]] = {
    "top": ("fairlead_sparse_inference.top.command:top", "Show live what a workload's engine does."),
    "telemetry": ("fairlead_sparse_inference.top.command:telemetry", "Record what it does, and plot it."),
    "profile": (f"{_HERE}.profile.command:profile", "Count which neurons fire on a text, how often and together."),
    "train-predictor": (f"{_HERE}.predictor.command:train_predictor", "Train what predicts the neurons that fire."),
    "threshold": (f"{_HERE}.threshold.command:threshold", "Leave weak neurons of a stock model out; says the price."),
    "drelufy": (f"{_HERE}.drelufication.command:drelufy", "Turn a SwiGLU model into a dReLU one by further training."),
    "perplexity": (f"{_HERE}.perplexity.command:perplexity", "Perplexity of a model on a text, exact or approximate."),
    "plan": (f"{_HERE}.placement.command:plan", "Plan which neurons stay in memory under a budget."),
    "convert": (f"{_HERE}.conversion.command:convert", "Write a checkpoint as a bundle directory for the engine."),
}


class SparseGroup(click.Group):
    """Commands by table, so that `--help` imports neither NumPy nor PyTorch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List names and summaries without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group("sparse", cls=SparseGroup, context_settings={"help_option_names": ["-h", "--help"]})
def sparse() -> None:
    """Make a model's sparsity known and usable: profile, predict, plan, convert, measure."""
