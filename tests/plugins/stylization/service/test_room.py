"""Small pictures are worked on side by side, large ones alone, and nobody is passed over."""

from __future__ import annotations

import asyncio

import pytest

from fairlead_stylization.service.room import Room


async def entered(room: Room, size: int, name: str, inside: list[str], leave: asyncio.Event) -> None:
    async with room.taken(size):
        inside.append(name)
        try:
            await leave.wait()
        finally:
            inside.remove(name)


class Hall:
    """Who is in a room, and who may leave it."""

    def __init__(self, places: int, size: int | None) -> None:
        self.room, self.inside = Room(places, size), []
        self.tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def comes(self, name: str, size: int) -> None:
        leave = asyncio.Event()
        work = entered(self.room, size, name, self.inside, leave)
        self.tasks[name] = asyncio.create_task(work), leave
        await asyncio.sleep(0)

    async def leaves(self, name: str) -> None:
        task, leave = self.tasks.pop(name)
        leave.set()
        await task
        await asyncio.sleep(0)

    async def gives_up(self, name: str) -> None:
        task, _ = self.tasks.pop(name)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)


async def test_small_ones_share_a_room_that_a_large_one_has_alone() -> None:
    hall = Hall(4, 10)
    for name, size in (("small", 3), ("other", 3), ("large", 9), ("late", 1)):
        await hall.comes(name, size)
    # There would be room for the last one, which would keep the large one out for ever.
    assert hall.inside == ["small", "other"]
    await hall.leaves("small")
    assert hall.inside == ["other"]
    await hall.leaves("other")
    assert hall.inside == ["large", "late"]


async def test_what_is_larger_than_the_room_has_it_alone() -> None:
    hall = Hall(2, 10)
    for name, size in (("huge", 99), ("small", 1)):
        await hall.comes(name, size)
    assert hall.inside == ["huge"]
    await hall.leaves("huge")
    assert hall.inside == ["small"]


async def test_places_are_counted_where_there_is_room_for_all() -> None:
    hall = Hall(2, None)
    for name in ("first", "second", "third"):
        await hall.comes(name, 1 << 40)
    assert hall.inside == ["first", "second"]


async def test_who_gives_up_leaves_no_gap() -> None:
    hall = Hall(4, 10)
    for name, size in (("first", 8), ("large", 9), ("small", 2)):
        await hall.comes(name, size)
    await hall.gives_up("large")
    assert hall.inside == ["first", "small"]
    await hall.gives_up("first")
    await hall.comes("next", 8)
    assert hall.inside == ["small", "next"]


async def test_who_gives_up_just_when_a_place_gets_free_leaves_it_to_the_next() -> None:
    hall = Hall(1, 10)
    for name in ("first", "gone", "next"):
        await hall.comes(name, 8)
    # Both happen before anybody else runs.
    waiting, _ = hall.tasks.pop("gone")
    hall.tasks["first"][1].set()
    waiting.cancel()
    first, _ = hall.tasks.pop("first")
    await first
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert hall.inside == ["next"]
    await hall.leaves("next")
    await hall.comes("last", 8)
    assert hall.inside == ["last"]
