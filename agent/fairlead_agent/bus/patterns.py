"""MQTT topic names and topic filters (MQTT 3.1.1, section 4.7)."""

from __future__ import annotations

MAX_TOPIC_BYTES = 65_535


class TopicError(ValueError):
    """A topic or a pattern that MQTT does not allow; the text says why, on one line."""


def check_topic(topic: str) -> str:
    """Return ``topic`` when something may be published to it.

    Raises:
        TopicError: empty, too long, or with a wildcard or a null character.
    """
    if any(mark in topic for mark in "+#\0"):
        raise TopicError(f"topic {topic[:120]!r}: '+', '#' and the null character are not allowed in a topic")
    return _check_length(topic, "topic")


def check_pattern(pattern: str) -> str:
    """Return ``pattern`` when it may be subscribed to.

    Raises:
        TopicError: a wildcard that does not fill its level, or '#' before the last level.
    """
    levels = _check_length(pattern, "pattern").split("/")
    for index, level in enumerate(levels):
        if len(level) > 1 and ("+" in level or "#" in level):
            raise TopicError(f"pattern {pattern[:120]!r}: a wildcard must fill its level")
        if level == "#" and index != len(levels) - 1:
            raise TopicError(f"pattern {pattern[:120]!r}: '#' must be the last level")
    return pattern


def is_wild(pattern: str) -> bool:
    """True when ``pattern`` may match more than one topic."""
    return "+" in pattern or "#" in pattern


def matches(pattern: str, topic: str) -> bool:
    """True when a message on ``topic`` reaches a subscription to ``pattern``; '$' topics need to be named."""
    if pattern == topic:
        return True
    if topic.startswith("$") and pattern[:1] in ("+", "#"):
        return False
    wanted, given = pattern.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(given) or level not in ("+", given[index]):
            return False
    return len(wanted) == len(given)


def _check_length(text: str, what: str) -> str:
    if not text or len(text.encode("utf-8", "surrogatepass")) > MAX_TOPIC_BYTES or "\0" in text:
        raise TopicError(f"{what} {text[:120]!r}: 1 to {MAX_TOPIC_BYTES} bytes of UTF-8 without null are accepted")
    return text
