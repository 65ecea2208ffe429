"""The engine: a model, a paged key-value cache, and one thread that gives each request one token in turn."""

from fairlead_language_model.serving import (
    BudgetTooSmall,
    EngineClosed,
    EngineError,
    Event,
    Failure,
    Finish,
    Piece,
    PromptTooLong,
    QueueFull,
    Request,
)

from .engine import Engine
from .errors import ModelUnsupported
from .model import SparseModel

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
