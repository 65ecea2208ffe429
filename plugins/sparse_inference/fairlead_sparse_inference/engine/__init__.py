"""The engine: a model, a paged key-value cache, and one thread that gives each request one token in turn."""

from .engine import Engine
from .errors import BudgetTooSmall, EngineClosed, EngineError, ModelUnsupported, PromptTooLong, QueueFull
from .events import Event, Failure, Finish, Piece
from .model import SparseModel
from .request import Request

__all__ = [
    "BudgetTooSmall",
    "Engine",
    "EngineClosed",
    "EngineError",
    "Event",
    "Failure",
    "Finish",
    "ModelUnsupported",
    "Piece",
    "PromptTooLong",
    "QueueFull",
    "Request",
    "SparseModel",
]
