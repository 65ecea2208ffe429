"""Stop strings in a stream: nothing of them is shown, and nothing else is lost."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_language_model.stop_matcher import StopMatcher

LETTERS = st.text(alphabet="ab\n", max_size=30)
STOPS = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3)


def run(stops: list[str], pieces: list[str]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    shown = "".join([*map(matcher.feed, pieces), matcher.flush()])
    return shown, matcher.matched


def cut(text: str, places: list[int]) -> list[str]:
    edges = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(edges)]


@settings(max_examples=500, deadline=None)
@given(text=LETTERS, stops=STOPS, places=st.lists(st.integers(0, 30)))
def test_any_cut_gives_the_text_before_the_earliest_stop(text: str, stops: list[str], places: list[int]) -> None:
    found = sorted((at, len(stop), stop) for stop in stops if (at := text.find(stop)) >= 0)
    expected = (text[: found[0][0]], found[0][2]) if found else (text, None)
    assert run(stops, cut(text, places)) == expected


@settings(max_examples=300, deadline=None)
@given(text=LETTERS, stops=STOPS)
def test_what_is_held_back_is_always_the_start_of_a_stop(text: str, stops: list[str]) -> None:
    matcher, shown = StopMatcher(stops), ""
    for i, character in enumerate(text):
        shown += matcher.feed(character)
        if matcher.stopped:
            break
        held = text[len(shown) : i + 1]
        assert held == "" or any(stop.startswith(held[: len(stop)]) for stop in stops)


def test_text_that_cannot_become_a_stop_is_shown_at_once() -> None:
    matcher = StopMatcher(["\nUser:"])
    assert [matcher.feed(p) for p in ["Hello", "\nUs", "ual", "\nUser", ": hi"]] == ["Hello", "", "\nUsual", "", ""]
    assert matcher.matched == "\nUser:" and matcher.flush() == "" and matcher.feed("more") == ""


def test_a_longer_stop_that_began_earlier_wins() -> None:
    assert run(["bc", "abcd"], ["ab", "c", "d"]) == ("", "abcd")
    assert run(["bc", "abcd"], ["ab", "c", "x"]) == ("a", "bc")
    assert run(["bc", "abcd"], ["abc"]) == ("a", "bc")


def test_an_empty_stop_string_stops_nothing() -> None:
    assert run([""], ["text"]) == ("text", None)
