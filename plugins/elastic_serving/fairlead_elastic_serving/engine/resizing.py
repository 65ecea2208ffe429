"""Pages for keys and values that come and go with the memory budget."""

from __future__ import annotations

from fairlead_language_model.serving import BudgetTooSmall

from .loop import Loop
from .served_model import ServedModel


def fit_pages(loop: Loop, model: ServedModel, pages: int) -> None:
    """Have so many pages for keys and values beside those of weights, as far as they were reserved.

    Raises:
        BudgetTooSmall: somebody else than a request holds what would have to go; nothing was retired.
    """
    arena = model.loaded.arena
    loop.land()
    more = min(pages - arena.own_capacity, arena.retired)
    if more >= 0:
        arena.revive(more)
        return
    while arena.free_own < -more:
        missing = -more - arena.free_own
        if not (model.space.evict(missing) or loop.preempt()):
            raise BudgetTooSmall(model.plan.bytes_for(pages), model.plan.bytes_for(pages + missing))
    model.loaded.memory.discard(arena.retire(-more))
