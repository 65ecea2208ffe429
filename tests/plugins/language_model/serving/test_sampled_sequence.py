"""One request while it generates, whichever engine gives it logits."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead_language_model.sampling import SamplingParameters
from fairlead_language_model.serving import Event, Finish, Piece, Request, SampledSequence
from fairlead_language_model.tokenizer import Tokenizer


def logits_of(tokenizer: Tokenizer, token: int) -> NDArray[np.float32]:
    """Logits that make one token the most likely."""
    logits = np.zeros(tokenizer.vocab_size, np.float32)
    logits[token] = 9.0
    return logits


def sequence_of(
    tokenizer: Tokenizer, max_tokens: int = 8, context: int = 64, logprobs: int | None = None, **settings: object
) -> SampledSequence:
    parameters = SamplingParameters(temperature=0, **settings)  # pyright: ignore[reportArgumentType]
    request = Request((0, 9, 10), parameters, max_tokens, logprobs)
    return SampledSequence(request, tokenizer, tokenizer.eos_token_ids, context, lambda event: None, 0.0)


def say(sequence: SampledSequence, tokenizer: Tokenizer, text: str) -> list[Event]:
    """Feed the tokens of a text until the sequence ends."""
    events: list[Event] = []
    for token in tokenizer.encode(text, add_special_tokens=False):
        if not sequence.finished:
            events += sequence.advance(logits_of(tokenizer, token))
    return events


def shown(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece | Finish))


def test_an_answer_ends_at_its_number_of_tokens_or_with_the_context(tokenizer: Tokenizer) -> None:
    for max_tokens, context, generated in ((4, 64, 4), (40, 8, 5)):
        sequence = sequence_of(tokenizer, max_tokens, context)
        last = say(sequence, tokenizer, "The rain fell on the harbour all night and the boy was there.")[-1]
        assert isinstance(last, Finish)
        assert (last.reason, last.prompt_tokens, last.completion_tokens) == ("length", 3, generated)


def test_an_end_token_ends_it_and_is_not_shown(tokenizer: Tokenizer) -> None:
    sequence = sequence_of(tokenizer)
    said = say(sequence, tokenizer, " rain")
    ended = sequence.advance(logits_of(tokenizer, min(tokenizer.eos_token_ids)))
    assert [type(event) for event in ended] == [Finish]
    assert shown(said + ended) == " rain" and sequence.finished


def test_a_request_may_ask_for_tokens_beyond_the_end(tokenizer: Tokenizer) -> None:
    sequence = sequence_of(tokenizer, max_tokens=3, ignore_eos=True)
    events = [e for _ in range(3) for e in sequence.advance(logits_of(tokenizer, min(tokenizer.eos_token_ids)))]
    assert isinstance(events[-1], Finish)
    assert (events[-1].reason, events[-1].completion_tokens) == ("length", 3)


@pytest.mark.parametrize("stop", ["harb", "our all", " on the"])
def test_a_stop_string_is_never_shown_in_part(tokenizer: Tokenizer, stop: str) -> None:
    text = " rain fell on the harbour all night"
    events = say(sequence_of(tokenizer, 40, stop=(stop,)), tokenizer, text)
    assert shown(events) == text[: text.index(stop)]
    assert isinstance(events[-1], Finish) and events[-1].stop == stop


def test_log_probabilities_are_those_of_the_logits(tokenizer: Tokenizer) -> None:
    sequence = sequence_of(tokenizer, logprobs=2)
    piece = sequence.advance(logits_of(tokenizer, 40))[0]
    assert isinstance(piece, Piece) and piece.logprob is not None
    assert piece.logprob.logprob == pytest.approx(9 - np.log(np.exp(9) + tokenizer.vocab_size - 1), abs=1e-5)
    assert piece.logprob.top[0][0] == 40


def test_what_was_generated_stays_when_the_request_is_computed_again(tokenizer: Tokenizer) -> None:
    """An engine that gave a request's pages away goes on from `tokens`, and penalties see the answer so far."""
    sequence = sequence_of(tokenizer, presence_penalty=2.0)
    sequence.advance(logits_of(tokenizer, 40))
    logits = np.zeros(tokenizer.vocab_size, np.float32)
    logits[[40, 41]] = 3.0, 2.0
    sequence.advance(logits)
    assert sequence.tokens == [0, 9, 10, 40, 41] and sequence.generated == [40, 41]


def test_an_abort_gives_what_was_held_back(tokenizer: Tokenizer) -> None:
    sequence = sequence_of(tokenizer, stop=("rainbow",))
    said = say(sequence, tokenizer, " rain")
    assert shown(said) == " "
    assert sequence.finish("abort").text == "rain"
