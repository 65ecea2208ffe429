"""Who holds which page. Pure: numbers only, no arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import LanguageModelError, OutOfPages


class PagePool:
    """Counts the holders of each page; a page without holders is free.

    A page that several hold is read by all of them and must be written by none.
    """

    def __init__(self, count: int) -> None:
        self._holders = [0] * count
        # The last entry is handed out first, so that low pages are used first.
        self._free = list(range(count))[::-1]

    @property
    def count(self) -> int:
        """Number of pages."""
        return len(self._holders)

    @property
    def free(self) -> int:
        """Number of pages that nobody holds."""
        return len(self._free)

    @property
    def used(self) -> int:
        """Number of pages that somebody holds, each counted once."""
        return self.count - self.free

    def holders(self, page: int) -> int:
        """Return how many hold a page."""
        return self._holders[page]

    def take(self, number: int) -> list[int]:
        """Hand out free pages, one holder each; raises OutOfPages, changing nothing, if there are too few."""
        if number > len(self._free):
            raise OutOfPages(number, len(self._free))
        taken = [self._free.pop() for _ in range(number)]
        for page in taken:
            self._holders[page] = 1
        return taken

    def retain(self, pages: Iterable[int]) -> None:
        """Add a holder to each of some held pages; raises LanguageModelError for a free one."""
        pages = tuple(pages)
        self._refuse_free(pages, "shared though nobody holds them")
        for page in pages:
            self._holders[page] += 1

    def release(self, pages: Sequence[int]) -> None:
        """Take a holder away from each page; raises LanguageModelError for one that nobody holds."""
        self._refuse_free(pages, "released twice")
        for page in reversed(pages):
            self._holders[page] -= 1
            if not self._holders[page]:
                self._free.append(page)

    def compact(self, count: int) -> dict[int, int]:
        """Change the number of pages; held ones move to the lowest numbers, in order.

        Returns the new number of each held page. Raises OutOfPages, changing nothing, where more are held.
        """
        if self.used > count or count < 1:
            raise OutOfPages(self.used, count)
        held = [page for page, holders in enumerate(self._holders) if holders]
        self._holders = [self._holders[page] for page in held] + [0] * (count - len(held))
        self._free = list(range(len(held), count))[::-1]
        return {page: number for number, page in enumerate(held)}

    def wrong(self, uses: dict[int, int]) -> list[int]:
        """Return the pages whose holders are not those in `uses` (page to holders; absent means none)."""
        counted = {page: holders for page, holders in enumerate(self._holders) if holders}
        lost = [page for page in self._free if self._holders[page]]
        return sorted({page for page in counted.keys() | uses.keys() if counted.get(page) != uses.get(page)} | {*lost})

    def _refuse_free(self, pages: Sequence[int], what: str) -> None:
        free = sorted({page for page in pages if not self._holders[page]})
        if free:
            raise LanguageModelError(f"KV pages {free[:8]} are {what}")
