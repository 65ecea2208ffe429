"""``fairlead chat``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.names import workload_argument
from fairlead_agent.cli.output import json_option, print_json
from fairlead_agent.cli.streamed import completion

HELP = "Ctrl-D ends, Ctrl-C stops an answer, /new forgets what was said."


@click.command()
@workload_argument
@click.argument("prompt", required=False)
@click.option("--max-tokens", default=120, show_default=True, type=click.IntRange(1))
@click.option("--temperature", default=0.7, show_default=True, type=click.FloatRange(0, 2))
@click.option("--complete", is_flag=True, help="Continue the prompt as plain text instead of answering it.")
@json_option
@with_client
def chat(
    workload: str,
    prompt: str | None,
    max_tokens: int,
    temperature: float,
    complete: bool,
    as_json: bool,
    client: ApiClient,
) -> None:
    """Talk to WORKLOAD. Without PROMPT, read lines from the terminal until end of file."""
    options = {"model": workload, "max_tokens": max_tokens, "temperature": temperature}
    talk = Talk(client, options, complete, as_json)
    if prompt is not None:
        talk.say(prompt)
    elif sys.stdin.isatty():
        _check_speaks(client, workload)
        _converse(talk)
    else:
        for line in filter(None, map(str.strip, sys.stdin)):
            talk.say(line)


@dataclass(slots=True)
class Talk:
    """A conversation so far."""

    client: ApiClient
    options: dict[str, Any]
    complete: bool
    as_json: bool
    messages: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def say(self, text: str) -> None:
        """Send one message and show the answer.

        Raises:
            CliError: there was none; the message is forgotten.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        path, body = "/v1/chat/completions", {**self.options, "messages": messages}
        if self.complete:
            path, body = "/v1/completions", {**self.options, "prompt": text}
        said = self._whole(path, body) if self.as_json else "".join(self._streamed(path, body))
        self.messages = [*messages, {"role": "assistant", "content": said}]

    def _whole(self, path: str, body: dict[str, Any]) -> str:
        answer = self.client.call("POST", path, body, timeout_s=300.0)
        print_json(answer)
        choice = answer["choices"][0]
        return choice["text"] if self.complete else choice["message"]["content"] or ""

    def _streamed(self, path: str, body: dict[str, Any]) -> Iterator[str]:
        try:
            with completion(self.client, path, body) as found:
                for piece in found.pieces():
                    click.echo(piece, nl=False)
                    sys.stdout.flush()
                    yield piece
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            click.secho(" [stopped]", dim=True, nl=False)
        click.echo()


def _check_speaks(client: ApiClient, workload: str) -> None:
    known = [model["id"] for model in client.get("/v1/models")["data"]]
    if workload not in known:
        speak = f"these do: {', '.join(known)}" if known else "none does"
        raise CliError(f"no workload {workload!r} that serves a language model; {speak}")


def _converse(talk: Talk) -> None:
    _line_editing()
    click.secho(HELP, dim=True)
    while True:
        try:
            text = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return
        if text == "/new":
            talk.messages = []
        elif text:
            try:
                talk.say(text)
            except CliError as error:
                # One refused message does not end a conversation.
                error.show()


def _line_editing() -> None:
    try:
        importlib.import_module("readline")
    except ImportError:
        click.secho("(no line editing: this Python has no readline)", dim=True)
