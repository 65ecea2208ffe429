"""Turns a conversation into the text that a model was trained to continue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..chat_message import ChatMessage
from ..errors import ChatTemplateError

# Bounds for what a template computes.
_MOST_BITS, _LONGEST_PRODUCT = 4096, 1 << 20
# For models whose files have no template: recognised by the markers in their vocabularies.
_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_TURNS = (
    "{{ bos_token }}{% set lead = namespace(text='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set lead.text = lead.text + m['content'] + '\n\n' %}"
    "{% elif m['role'] in ('user', 'assistant') %}"
    "{{ '<|' + m['role'] + '|>' + lead.text + m['content'] + '<|end|>' }}{% set lead.text = '' %}"
    "{% else %}{{ raise_exception('role ' + m['role'] + ': accepted: assistant, system, user') }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_BUILT_IN: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"<|im_start|>", "<|im_end|>"}), _CHATML),
    (frozenset({"<|user|>", "<|assistant|>", "<|end|>"}), _TURNS),
)


class ChatTemplate:
    """A Jinja template as model files carry it, run in Jinja's immutable sandbox.

    The sandbox keeps a template away from Python's internals, and bounds ranges; it does not bound its time.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """Compile a template; `special_tokens` are its variables such as bos_token. Raises ChatTemplateError."""
        from jinja2 import TemplateError

        self.source = source
        self._special_tokens = dict(special_tokens)
        try:
            self._template = _environment().from_string(source)
        except (TemplateError, RecursionError, MemoryError, ArithmeticError, ValueError) as error:
            raise ChatTemplateError(f"chat template: {error}") from error

    @classmethod
    def built_in(cls, vocabulary: frozenset[str], special_tokens: Mapping[str, str]) -> ChatTemplate | None:
        """Return the template that fits the markers in a vocabulary, or None."""
        for markers, source in _BUILT_IN:
            if markers <= vocabulary:
                return cls(source, {"bos_token": "", **special_tokens})
        return None

    def render(
        self, messages: Sequence[ChatMessage], *, add_generation_prompt: bool = True, now: datetime | None = None
    ) -> str:
        """Return the prompt's text. `now` is what a template that writes the date gets to see.

        Raises ChatTemplateError where the template refuses the messages or fails.
        """
        from jinja2 import TemplateError

        variables: dict[str, Any] = {**self._special_tokens, "messages": [dict(m) for m in messages]}
        if now is not None:
            variables["strftime_now"] = now.strftime
        try:
            return self._template.render(**variables, add_generation_prompt=add_generation_prompt)
        except (
            TemplateError,
            TypeError,
            ValueError,
            LookupError,
            ArithmeticError,
            RecursionError,
            MemoryError,
        ) as error:
            raise ChatTemplateError(f"chat template: {error}") from error


def _environment() -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        """Refuses products and powers whose result would be enormous, also where they could be computed early."""

        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if _enormous(operator, left, right):
                _refuse(f"the result of {operator} is too large")
            return super().call_binop(context, operator, left, right)

    environment: Any = Bounded(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    # Prompts are not HTML: Jinja's own filter would escape <, > and &.
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    return environment


def _enormous(operator: str, left: Any, right: Any) -> bool:
    if operator == "**":
        return isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > _MOST_BITS
    return any(
        isinstance(times, int) and hasattr(of, "__len__") and len(of) * times > _LONGEST_PRODUCT
        for of, times in ((left, right), (right, left))
    )


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)
