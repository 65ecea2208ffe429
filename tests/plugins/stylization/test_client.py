"""The client asks again where that helps, and only there."""

from __future__ import annotations

import httpx
import pytest

from fairlead_stylization.client import RequestRefused, StyleClient


def client(answers: list[httpx.Response], slept: list[float]) -> StyleClient:
    made = StyleClient("http://gate/workloads/s", "fl_1", sleep=slept.append)
    made._http = httpx.Client(base_url="http://gate", transport=httpx.MockTransport(lambda _: answers.pop(0)))
    return made


def test_who_is_busy_is_asked_again() -> None:
    slept: list[float] = []
    answers = [httpx.Response(status, headers={"retry-after": after}) for status, after in ((429, "1"), (503, "900"))]
    answers.append(httpx.Response(200, json={"variant": "edge"}))
    assert client(answers, slept).status() == {"variant": "edge"}
    assert slept == [1, 5]


@pytest.mark.parametrize(("status", "headers"), [(400, {"retry-after": "1"}), (503, {})])
def test_what_will_not_change_is_told_at_once(status: int, headers: dict[str, str]) -> None:
    slept: list[float] = []
    refusal = httpx.Response(status, headers=headers, json={"error": {"message": "no picture"}})
    with pytest.raises(RequestRefused, match="no picture") as refused:
        client([refusal], slept).status()
    assert refused.value.status == status and not slept


def test_an_answer_that_takes_long_is_not_nobody() -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("timed out", request=request)

    made = StyleClient("http://gate", timeout_s=7)
    made._http = httpx.Client(base_url="http://gate", transport=httpx.MockTransport(slow), timeout=made._http.timeout)
    with pytest.raises(RequestRefused, match="no answer within 7 s") as refused:
        made.status()
    assert refused.value.status == 504


def test_searches_may_take_as_long_as_gateways_wait() -> None:
    waits = StyleClient("http://gate")._http.timeout
    assert waits.read == 3600 and waits.connect == 10


def test_a_client_gives_up() -> None:
    slept: list[float] = []
    with pytest.raises(RequestRefused):
        client([httpx.Response(429, headers={"retry-after": "2"}) for _ in range(9)], slept).status()
    assert slept == [2] * 5
