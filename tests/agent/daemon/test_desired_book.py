"""A node acts on nothing that the site's key has not signed."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fairlead_agent.daemon.desired_book import DesiredBook
from fairlead_agent.messages import SignedWorkload, Workload
from fairlead_agent.messages.signing import DesiredWorkload, key_id, public_bytes, sign

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
CHAT = Workload(name="chat", plugin="sparse_inference")


def signed(
    generation: int = 1, workload: Workload = CHAT, *, key: Ed25519PrivateKey = KEY, site: str = "lab"
) -> SignedWorkload:
    return sign(DesiredWorkload(site=site, name=workload.name, generation=generation, workload=workload), key)


@pytest.fixture
def book() -> DesiredBook:
    public = public_bytes(KEY)
    return DesiredBook("lab", {key_id(public): public})


def test_what_the_key_signed_may_be_served(book: DesiredBook) -> None:
    assert book.take("chat", signed())
    assert book.objection(CHAT, 1) == ""


def test_nothing_may_be_served_before_it_is_signed(book: DesiredBook) -> None:
    assert "no workload 'chat'" in book.objection(CHAT, 1)


def test_another_key_is_refused(book: DesiredBook) -> None:
    assert not book.take("chat", signed(key=OTHER))
    assert book.refused == 1
    assert book.objection(CHAT, 1)


def test_a_changed_payload_is_refused(book: DesiredBook) -> None:
    honest = signed()
    forged = honest.model_copy(update={"payload": honest.payload.replace("sparse_inference", "evil")})
    assert not book.take("chat", forged)


def test_another_site_and_another_name_are_refused(book: DesiredBook) -> None:
    assert not book.take("chat", signed(site="home"))
    assert not book.take("talk", signed())


def test_an_old_generation_cannot_be_played_back(book: DesiredBook) -> None:
    old = signed(1)
    assert book.take("chat", signed(2))
    assert not book.take("chat", old)
    assert "newest signed generation" in book.objection(CHAT, 1)
    assert book.objection(CHAT, 2) == ""


def test_a_steward_cannot_change_what_was_signed(book: DesiredBook) -> None:
    book.take("chat", signed())
    other = CHAT.model_copy(update={"config": {"model": "/etc/passwd"}})
    assert "another than the one that was sent" in book.objection(other, 1)


def test_deleted_state_may_not_be_served(book: DesiredBook) -> None:
    book.take("chat", signed())
    book.take("chat", sign(DesiredWorkload(site="lab", name="chat", generation=2, deleted=True), KEY))
    assert book.objection(CHAT, 2)
