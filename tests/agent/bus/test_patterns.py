"""Topics and patterns, against the examples of the MQTT 3.1.1 specification and each other."""

from __future__ import annotations

import pytest
from aiomqtt import Topic
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.bus.patterns import TopicError, check_pattern, check_topic, matches

LEVEL = st.sampled_from(["a", "b", "$x", ""])
PATTERN_LEVEL = st.sampled_from(["a", "b", "+", "$x", ""])


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
    ],
)
def test_examples_of_the_specification(pattern: str, topic: str, expected: bool) -> None:
    assert matches(pattern, topic) is expected


@given(st.lists(PATTERN_LEVEL, min_size=1, max_size=4), st.lists(LEVEL, min_size=1, max_size=4), st.booleans())
def test_agrees_with_aiomqtt(levels: list[str], topic_levels: list[str], rest: bool) -> None:
    pattern, topic = "/".join([*levels, "#"] if rest else levels), "/".join(topic_levels)
    if not pattern or not topic or topic.startswith("$"):
        return
    assert matches(pattern, topic) == Topic(topic).matches(pattern)


@pytest.mark.parametrize("bad", ["", "a/+", "#", "a\0b", "x" * 70_000])
def test_bad_topics(bad: str) -> None:
    with pytest.raises(TopicError):
        check_topic(bad)


@pytest.mark.parametrize("bad", ["", "a+", "a/#/b", "a/b#", "x" * 70_000])
def test_bad_patterns(bad: str) -> None:
    with pytest.raises(TopicError):
        check_pattern(bad)
