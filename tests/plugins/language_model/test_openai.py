"""The OpenAI-compatible types: what clients send is read, what they get back their own library reads."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_language_model.openai import (
    SSE_DONE,
    ApiError,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionRequest,
    ChatDelta,
    ChatMessageOut,
    Completion,
    CompletionChoice,
    CompletionRequest,
    Model,
    ModelList,
    Usage,
    chat_token_logprob,
    completion_logprobs,
    invalid_request,
    parse_request,
    sse_data,
    sse_error,
)
from fairlead_language_model.sampling import TokenLogprob

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
TEXT: dict[str, Any] = {"model": "tiny", "prompt": "hi"}


def chat(**fields: Any) -> ChatCompletionRequest:
    return parse_request(ChatCompletionRequest, json.dumps({**CHAT, **fields}))


def text(**fields: Any) -> CompletionRequest:
    return parse_request(CompletionRequest, json.dumps({**TEXT, **fields}))


def test_defaults_are_those_of_the_api() -> None:
    sampling = chat().sampling()
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.stop) == (1.0, 1.0, None, ())
    assert text().sampling().max_tokens == 16


def test_every_setting_reaches_the_sampler() -> None:
    fields = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 7,
        "min_p": 0.1,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "repetition_penalty": 1.5,
        "logit_bias": {"5": -100},
        "seed": -12345678901,
        "stop": "\n",
        "ignore_eos": True,
        "max_completion_tokens": 9,
    }
    sampling = chat(**fields).sampling()
    assert sampling.model_dump() == {
        **{name: value for name, value in fields.items() if name != "max_completion_tokens"},
        "logit_bias": {5: -100},
        "stop": ("\n",),
        "max_tokens": 9,
    }


def test_unknown_fields_and_nulls_are_ignored() -> None:
    request = chat(service_tier="auto", temperature=None, stop=None, metadata={"a": 1}, max_tokens=None, n=None)
    assert request.temperature == 1.0 and request.sampling().max_tokens is None


def test_content_parts_are_joined_and_developer_is_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = chat(messages=[{"role": "developer", "content": "be brief"}, {"role": "user", "content": parts}])
    assert request.chat() == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "ab"}]


@pytest.mark.parametrize(
    ("prompt", "expected"), [("x", "x"), (["x"], "x"), ([1, 2], [1, 2]), ([[1, 2]], [1, 2]), ("", ""), ([7], [7])]
)
def test_a_prompt_may_be_text_or_tokens(prompt: Any, expected: Any) -> None:
    assert text(prompt=prompt).prompt == expected


@pytest.mark.parametrize("stop", ["\n", ["\n"]])
def test_stop_may_be_one_or_many(stop: Any) -> None:
    assert text(stop=stop).stop == ["\n"]


BAD: list[tuple[dict[str, Any], str, str, str]] = [
    ({"temperature": 2.5}, "temperature", "2.5", "less than or equal to 2"),
    ({"temperature": "hot"}, "temperature", "'hot'", "valid number"),
    ({"temperature": "1"}, "temperature", "'1'", "valid number"),
    ({"top_p": 0}, "top_p", "0", "greater than 0"),
    ({"top_k": 1.5}, "top_k", "1.5", "integer"),
    ({"n": 17}, "n", "17", "less than or equal to 16"),
    ({"n": 0}, "n", "0", "greater than or equal to 1"),
    ({"stop": [""]}, "stop.0", "''", "at least 1"),
    ({"stop": ["x"] * 17}, "stop", "'x'", "at most 16"),
    ({"stop": 3}, "stop", "3", "valid array"),
    ({"seed": "abc"}, "seed", "'abc'", "integer"),
    ({"logit_bias": {"a": 1}}, "logit_bias", "'a'", "token ids"),
    ({"logit_bias": {"5": 101}}, "logit_bias.5", "101", "100"),
    ({"max_tokens": 0}, "max_tokens", "0", "greater than or equal to 1"),
    ({"stream": "yes"}, "stream", "'yes'", "boolean"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "include_usage", "stream = true"),
    ({"model": ""}, "model", "''", "at least 1"),
]


@pytest.mark.parametrize("parse", [chat, text])
@pytest.mark.parametrize(("fields", "param", "value", "accepted"), BAD)
def test_a_bad_field_is_named(parse: Any, fields: dict[str, Any], param: str, value: str, accepted: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(**fields)
    detail = caught.value.body.error
    assert (caught.value.status, detail.type, detail.param) == (400, "invalid_request_error", param)
    assert detail.message.startswith(f"{param} = ")
    assert value in detail.message and accepted in detail.message


CHAT_BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role", "'system', 'developer', 'user'"),
    ({"messages": [{"role": "user"}]}, "messages.0.content", "required"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content", "list of parts"),
    ({"messages": "hi"}, "messages", "valid array"),
    ({"tools": [{"type": "function"}]}, "tools", "not offered"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "'text', 'json_object' or 'json_schema'"),
    ({"response_format": {"type": "json_schema"}}, "response_format", '"json_schema": {"schema": ...}'),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema", "required"),
    ({"guided_json": "[1]"}, "guided_json", "a JSON schema"),
    ({"guided_choice": []}, "guided_choice", "at least 1 item"),
    ({"guided_regex": "a", "grammar": "start: /a/"}, "grammar", "not accepted together with guided_regex"),
    ({"session": "../other"}, "session", "pattern"),
    ({"top_logprobs": 3}, "top_logprobs", "logprobs = true"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "max_completion_tokens"),
]


@pytest.mark.parametrize(("fields", "param", "accepted"), CHAT_BAD)
def test_a_bad_chat_field_is_named(fields: dict[str, Any], param: str, accepted: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat(**fields)
    detail = caught.value.body.error
    assert detail.param == param and accepted in detail.message


@pytest.mark.parametrize("prompt", [["a", "b"], [], [[1], [2]], 3, [1.5], ["a", 1], [-1]])
def test_several_prompts_are_refused(prompt: Any) -> None:
    with pytest.raises(ApiError, match=r"prompt = .*one text, or one list of token ids"):
        text(prompt=prompt)


@pytest.mark.parametrize("field", [{"echo": True}, {"suffix": "x"}, {"best_of": 3}])
def test_what_is_not_offered_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        text(**field)
    assert caught.value.body.error.param == next(iter(field))


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b"\xff", b"null", b"[" * 10_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse_request(ChatCompletionRequest, body)
    assert caught.value.status == 400 and "body" in str(caught.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ApiError) as caught:
        parse_request(CompletionRequest, b'{"model": "m"}')
    assert caught.value.body.error.model_dump() == {
        "message": "prompt is missing: it is required",
        "type": "invalid_request_error",
        "param": "prompt",
        "code": "missing_required_parameter",
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(field=st.sampled_from([*ChatCompletionRequest.model_fields, *CompletionRequest.model_fields]), value=JSON)
def test_any_value_is_taken_or_refused_with_status_400(field: str, value: Any) -> None:
    for kind in (ChatCompletionRequest, CompletionRequest):
        body = json.dumps({**CHAT, **TEXT, field: value})
        try:
            parse_request(kind, body).sampling()
        except ApiError as error:
            assert error.status == 400 and error.body.error.message


def chunk(**delta: Any) -> ChatChunk:
    return ChatChunk(id="c", created=1, model="m", choices=[ChatChunkChoice(delta=ChatDelta(**delta))])


def test_events_are_one_line_each_and_keep_null_only_for_the_finish_reason() -> None:
    event = sse_data(chunk(content="two\nlines\r\u2028end"))
    assert event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2
    choice = json.loads(event[6:])["choices"][0]
    assert choice == {"index": 0, "delta": {"content": "two\nlines\r\u2028end"}, "finish_reason": None}
    assert SSE_DONE == b"data: [DONE]\n\n"


def test_an_error_inside_a_stream_is_an_event() -> None:
    event = sse_error(invalid_request("prompt", "x" * 500, "fewer tokens"))
    assert len(json.loads(event[6:])["error"]["message"]) < 150


def test_the_official_client_reads_every_response() -> None:
    types = pytest.importorskip("openai.types", reason="the official client checks the shapes")
    from openai.types import chat as chat_types

    usage = Usage.of(3, 4)
    answer = ChatChoice(message=ChatMessageOut(content="hi"), finish_reason="stop")
    whole = ChatCompletion(id="c", created=1, model="m", choices=[answer], usage=usage)
    assert chat_types.ChatCompletion.model_validate(whole.model_dump()).usage.total_tokens == 7
    completion = Completion(id="c", created=1, model="m", choices=[CompletionChoice(text="x", finish_reason="length")])
    types.Completion.model_validate(completion.model_dump())
    for piece in (chunk(role="assistant"), chunk(content="x"), chunk()):
        chat_types.ChatCompletionChunk.model_validate_json(sse_data(piece)[6:])
    models = ModelList(data=[Model(id="tiny", created=1)])
    assert types.Model.model_validate(models.model_dump()["data"][0]).id == "tiny"


def test_logprobs_carry_bytes_and_offsets() -> None:
    pieces = {1: b"hi", 2: "ü".encode()[:1], 3: "ü".encode()[1:]}
    scored = [TokenLogprob(1, -0.5, ((1, -0.5), (2, -1.5))), TokenLogprob(2, -2.0)]
    entry = chat_token_logprob(scored[0], pieces.__getitem__)
    assert (entry.token, entry.bytes, [t.bytes for t in entry.top_logprobs]) == ("hi", [104, 105], [[104, 105], [0xC3]])
    listed = completion_logprobs(scored, pieces.__getitem__, text_offset=10)
    assert listed.model_dump() == {
        "tokens": ["hi", "\ufffd"],
        "token_logprobs": [-0.5, -2.0],
        "top_logprobs": [{"hi": -0.5, "\ufffd": -1.5}, {}],
        "text_offset": [10, 12],
    }


def test_the_types_need_neither_numpy_nor_a_tokenizer() -> None:
    heavy = "{'numpy', 'tokenizers', 'torch', 'gguf', 'safetensors', 'jinja2', 'fairlead_kernels'}"
    code = f"import sys, fairlead_language_model.openai; print(sorted({heavy} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
