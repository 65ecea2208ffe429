"""``fairlead chat``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.output import json_option, print_json


@click.command()
@click.argument("workload")
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
    prompts = [prompt] if prompt is not None else _typed()
    messages: list[dict[str, str]] = []
    for text in prompts:
        messages.append({"role": "user", "content": text})
        path, body = _request(options, messages, text, complete)
        if as_json:
            print_json(client.call("POST", path, body))
            continue
        said = "".join(_shown(pieces(client, path, body)))
        messages.append({"role": "assistant", "content": said})


def _request(
    options: dict[str, Any], messages: list[dict[str, str]], text: str, complete: bool
) -> tuple[str, dict[str, Any]]:
    if complete:
        return "/v1/completions", {**options, "prompt": text}
    return "/v1/chat/completions", {**options, "messages": messages}


def _typed() -> Iterator[str]:
    while True:
        if sys.stdin.isatty():
            click.echo("> ", nl=False)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def pieces(client: ApiClient, path: str, body: dict[str, Any]) -> Iterator[str]:
    """The text of a streamed completion, piece by piece.

    Raises:
        CliError: the stream says that it broke off.
    """
    for line in client.lines("POST", path, {**body, "stream": True}):
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event: dict[str, Any] = json.loads(line[6:])
        if "error" in event:
            raise CliError(event["error"]["message"])
        for choice in event.get("choices", ()):
            delta: dict[str, Any] = choice.get("delta") or {}
            yield delta.get("content") or choice.get("text") or ""


def _shown(parts: Iterator[str]) -> Iterator[str]:
    for part in parts:
        click.echo(part, nl=False)
        sys.stdout.flush()
        yield part
    click.echo()
