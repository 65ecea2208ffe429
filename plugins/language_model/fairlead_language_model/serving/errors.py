"""What an engine refuses, each as one clear error."""

from __future__ import annotations


class EngineError(Exception):
    """Base of the engines' errors."""


class PromptTooLong(EngineError):
    """A prompt leaves no room for an answer in the context."""

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt has {tokens} tokens; accepted: at most {context - 1}, as the context of {context} tokens "
            "holds the answer too"
        )
        self.tokens, self.context = tokens, context


class QueueFull(EngineError):
    """As many requests wait as may."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} requests are waiting already; try again later")
        self.waiting = waiting


class EngineClosed(EngineError):
    """The engine drains or has stopped, and takes no request."""

    def __init__(self) -> None:
        super().__init__("the engine is draining and takes no new request")


class BudgetTooSmall(EngineError):
    """A memory budget with which the engine could not serve a single sequence."""

    def __init__(self, budget_bytes: int, minimum_bytes: int) -> None:
        super().__init__(
            f"memory of {budget_bytes} bytes: accepted: at least {minimum_bytes} (runtime, weights, one sequence)"
        )
        self.budget_bytes, self.minimum_bytes = budget_bytes, minimum_bytes
