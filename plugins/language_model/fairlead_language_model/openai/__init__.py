"""Types of the OpenAI-compatible API: requests, responses, streams, errors."""

from .errors import ApiError, ErrorBody, ErrorDetail, invalid_request
from .logprobs import chat_token_logprob, completion_logprobs
from .parsing import parse_request
from .requests import ChatCompletionRequest, ChatMessageParam, CompletionRequest, StreamOptions
from .responses import (
    ChatChoice,
    ChatChoiceLogprobs,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatMessageOut,
    ChatTokenLogprob,
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    FinishReason,
    Model,
    ModelList,
    PromptTokensDetails,
    TopLogprob,
    Usage,
)
from .sse import SSE_DONE, SSE_HEADERS, sse_data, sse_error

__all__ = [
    "SSE_DONE",
    "SSE_HEADERS",
    "ApiError",
    "ChatChoice",
    "ChatChoiceLogprobs",
    "ChatChunk",
    "ChatChunkChoice",
    "ChatCompletion",
    "ChatCompletionRequest",
    "ChatDelta",
    "ChatMessageOut",
    "ChatMessageParam",
    "ChatTokenLogprob",
    "Completion",
    "CompletionChoice",
    "CompletionLogprobs",
    "CompletionRequest",
    "ErrorBody",
    "ErrorDetail",
    "FinishReason",
    "Model",
    "ModelList",
    "PromptTokensDetails",
    "StreamOptions",
    "TopLogprob",
    "Usage",
    "chat_token_logprob",
    "completion_logprobs",
    "invalid_request",
    "parse_request",
    "sse_data",
    "sse_error",
]
