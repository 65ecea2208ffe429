"""How far ahead to guess. Pure."""

from __future__ import annotations

#: Longest rest, in tokens, after guesses that were all wrong.
_LONGEST_REST = 32


class GuessLength:
    """Guesses further ahead while guesses stand, less far when they fall, and rests when none stands.

    It learns from its own sequence alone: a seeded answer does not depend on who else is served.
    """

    def __init__(self, most: int) -> None:
        self._most = self._length = most
        self._rest = self._penalty = 0

    def take(self) -> int:
        """Return the number of tokens to guess now."""
        if self._rest:
            self._rest -= 1
            return 0
        return self._length

    def learn(self, guessed: int, accepted: int) -> None:
        """Take note of how many of so many guesses stood."""
        if not guessed:
            return
        if accepted:
            self._penalty = 0
        else:
            self._penalty = self._rest = min(2 * self._penalty + 1, _LONGEST_REST)
        wanted = max(self._length, 2 * guessed) if accepted == guessed else accepted + 1
        self._length = min(wanted, self._most)
