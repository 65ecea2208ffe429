"""What clients send to /v1/completions and /v1/chat/completions.

What is not offered is refused by name rather than ignored, where ignoring would change what the client gets back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ..chat_message import ChatMessage
from ..narrowing import as_list, as_object
from ..sampling_parameters import SamplingParameters
from .guided import GuidedRequest


def _one_or_many(value: Any) -> Any:
    """Bring OpenAI's "string or list of strings" to a list."""
    return [value] if isinstance(value, str) else value


StopStrings = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_one_or_many), Field(max_length=16)]
TokenCount = Annotated[int, Field(ge=1, strict=True)]


class StreamOptions(BaseModel):
    """Options of a streamed response."""

    model_config = ConfigDict(extra="ignore", strict=True)

    include_usage: bool = False


class _GenerationRequest(GuidedRequest):
    """The fields that both kinds of request share; `top_k`, `min_p` and `repetition_penalty` are extensions.

    So are `ignore_eos`, which generates on to the number of tokens asked for, and `session`, the name under which what
    was computed is kept for the next request of the same conversation. A field that is null counts as absent. Numbers
    are not taken from strings.
    """

    model: str = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int = Field(default=1, ge=1, le=16)
    temperature: float = Field(default=1.0, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2, allow_inf_nan=False)
    repetition_penalty: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(default_factory=dict[str, float])
    seed: int | None = None
    stop: StopStrings = Field(default_factory=list[str])
    ignore_eos: bool = False
    user: str | None = None
    session: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, value: dict[str, float]) -> dict[str, float]:
        wrong = next((key for key in value if not (key.isascii() and key.isdigit())), None)
        if wrong is not None:
            raise ValueError(f"keys that are token ids, not {wrong!r}")
        return value

    @model_validator(mode="after")
    def _options_need_a_stream(self) -> _GenerationRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only accepted with stream = true")
        return self

    @property
    def include_usage(self) -> bool:
        """Whether the last chunk of a stream carries the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def _sampling(self, max_tokens: int | None) -> SamplingParameters:
        bias: Mapping[int, float] = {int(token): value for token, value in self.logit_bias.items()}
        return SamplingParameters(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=bias,
            seed=self.seed,
            stop=tuple(self.stop),
            ignore_eos=self.ignore_eos,
            max_tokens=max_tokens,
        )


class CompletionRequest(_GenerationRequest):
    """POST /v1/completions. `prompt` is one text, or one list of token ids."""

    prompt: str | list[int]
    max_tokens: TokenCount = 16
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: bool = False
    suffix: str | None = None
    best_of: int | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt(cls, value: Any) -> Any:
        batch = as_list(value)
        if batch and len(batch) == 1 and type(batch[0]) is not int:
            return cls._one_prompt(batch[0])
        if isinstance(value, str) or (batch and all(type(token) is int and token >= 0 for token in batch)):
            return value
        raise ValueError("one text, or one list of token ids")

    @model_validator(mode="after")
    def _no_selection(self) -> CompletionRequest:
        if self.best_of not in (None, self.n):
            raise ValueError("best_of is only accepted where it equals n (choices are not selected)")
        return self

    @field_validator("echo", "suffix")
    @classmethod
    def _not_offered(cls, value: bool | str | None) -> bool | str | None:
        if value:
            raise ValueError("nothing but the default (this is not offered)")
        return value

    def sampling(self) -> SamplingParameters:
        """Return how this request's tokens are drawn."""
        return self._sampling(self.max_tokens)


class ChatMessageParam(BaseModel):
    """One message of a conversation; content parts of type "text" are joined."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, value: Any) -> Any:
        parts = as_list(value)
        if parts is None:
            return value
        texts = [part.get("text") for item in parts if (part := as_object(item)) and part.get("type") == "text"]
        if len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
            raise ValueError('a text, or a list of parts {"type": "text", "text": ...}')
        return "".join(map(str, texts))


class ChatCompletionRequest(_GenerationRequest):
    """POST /v1/chat/completions. `max_tokens` is the older name of `max_completion_tokens`."""

    messages: list[ChatMessageParam] = Field(min_length=1)
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[Any] = Field(default_factory=list[Any])
    tool_choice: Any = None

    @field_validator("tools")
    @classmethod
    def _no_tools(cls, value: list[Any]) -> list[Any]:
        if value:
            raise ValueError("an empty list (tools are not offered)")
        return value

    @field_validator("tool_choice")
    @classmethod
    def _no_tool_choice(cls, value: Any) -> Any:
        if value not in (None, "none", "auto"):
            raise ValueError("none or auto (tools are not offered)")
        return value

    @model_validator(mode="after")
    def _counts_agree(self) -> ChatCompletionRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is only accepted with logprobs = true")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens must equal max_completion_tokens where both are given")
        return self

    def chat(self) -> list[ChatMessage]:
        """Return the messages as chat templates take them; "developer" is OpenAI's newer name of "system"."""
        return [{"role": "system" if m.role == "developer" else m.role, "content": m.content} for m in self.messages]

    def sampling(self) -> SamplingParameters:
        """Return how this request's tokens are drawn; max_tokens None means as many as the context holds."""
        return self._sampling(self.max_completion_tokens or self.max_tokens)
