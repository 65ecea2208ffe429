"""What both language-model engines serve with: requests and their events, one request's sampling, OpenAI's routes.

The routes, `application.Application`, are imported by name: an engine that runs without them needs no web framework.
"""

from .engine import ServingEngine, Submitted
from .errors import BudgetTooSmall, EngineClosed, EngineError, PromptTooLong, QueueFull
from .events import Event, Failure, Finish, FinishReason, Piece, Sink
from .request import Request
from .sampled_sequence import SampledSequence

__all__ = [
    "BudgetTooSmall",
    "EngineClosed",
    "EngineError",
    "Event",
    "Failure",
    "Finish",
    "FinishReason",
    "Piece",
    "PromptTooLong",
    "QueueFull",
    "Request",
    "SampledSequence",
    "ServingEngine",
    "Sink",
    "Submitted",
]
