"""Whatever a model prefers, its answer has the form that was asked for."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_language_model.errors import GrammarError, GrammarUnavailable
from fairlead_language_model.grammar import GrammarCompiler
from fairlead_language_model.guide import Guide
from fairlead_language_model.tokenizer import Tokenizer, open_tokenizer

pytest.importorskip("llguidance", reason="llguidance is not installed")

SHIPPED = Path(__file__).parents[3] / "plugins/sparse_inference/fairlead_sparse_inference/models/tiny-drelu"
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return open_tokenizer(SHIPPED)


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(tokenizer, tokenizer.eos_token_ids)


def write(tokenizer: Tokenizer, compiler: GrammarCompiler, guide: Guide, seed: int, most: int = 200) -> str:
    """Let random logits write an answer, as a model of no sense would."""
    random, constraint = np.random.default_rng(seed), compiler.constraint(guide)
    tokens: list[int] = []
    # The embedding may have rows beyond the tokenizer's: they are never allowed.
    logits = random.normal(0, 3, (most, tokenizer.vocab_size + 5)).astype(np.float32)
    for row in logits:
        token = int(constraint.restrict(row).argmax())
        if token in tokenizer.eos_token_ids:
            break
        tokens.append(token)
        constraint.take(token)
        if constraint.complete:
            break
    else:
        pytest.fail("the answer did not end")
    return tokenizer.decode(tokens)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_json_validates_against_its_schema(tokenizer: Tokenizer, compiler: GrammarCompiler, seed: int) -> None:
    text = write(tokenizer, compiler, Guide("json_schema", json.dumps(SCHEMA), "x"), seed)
    jsonschema.validate(json.loads(text), SCHEMA)
    spaces = re.findall(r"[ \n\t]+", re.sub(r'"[^"]*"', '""', text))
    assert all(re.fullmatch(r" |\n[ \t]{0,20}", found) for found in spaces)


@pytest.mark.parametrize(
    ("kind", "form", "accepted"),
    [
        ("regex", "[0-9]{4}-[ab]+c", r"[0-9]{4}-[ab]+c"),
        ("choice", '["yes", "no", "none"]', "yes|no|none"),
        ("grammar", 'start: "a" item ("," item)* ";"\nitem: /[0-9]{1,3}/', r"a[0-9]{1,3}(,[0-9]{1,3})*;"),
        ("grammar", 'root ::= "(" ("x" | "é")+ ")"', r"\([xé]+\)"),
    ],
)
def test_other_forms_are_followed(
    tokenizer: Tokenizer, compiler: GrammarCompiler, kind: str, form: str, accepted: str
) -> None:
    for seed in range(8):
        text = write(tokenizer, compiler, Guide(kind, form, "x"), seed)  # pyright: ignore[reportArgumentType]
        assert re.fullmatch(accepted, text), text


@pytest.mark.parametrize(
    ("kind", "form", "words"),
    [
        ("json_schema", '{"type": "objec"}', "Invalid type: objec"),
        ("json_schema", '{"not": {"type": "object"}}', "Unimplemented"),
        ("json_schema", '{"$ref": "#/nowhere"}', "nowhere"),
        ("regex", "[0-9", "unclosed"),
        ("grammar", "start: other", 'unknown name: "other"'),
        ("grammar", "root ::= (", "Expected"),
    ],
)
def test_a_form_that_cannot_be_read_is_named(compiler: GrammarCompiler, kind: str, form: str, words: str) -> None:
    with pytest.raises(GrammarError, match=r"^the_field: ") as caught:
        compiler.constraint(Guide(kind, form, "the_field"))  # pyright: ignore[reportArgumentType]
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_one_guide_serves_many_answers(tokenizer: Tokenizer, compiler: GrammarCompiler) -> None:
    """The compiled form is kept, where an answer stands in it is not."""
    guide = Guide("choice", '["yes", "no"]', "x")
    first, second = compiler.constraint(guide), compiler.constraint(guide)
    first.take(tokenizer.encode("yes", add_special_tokens=False)[0])
    yes = second.restrict(np.zeros(tokenizer.vocab_size, np.float32))
    assert np.isfinite(yes[tokenizer.encode("n", add_special_tokens=False)[0]])


def test_what_must_follow_is_known(tokenizer: Tokenizer, compiler: GrammarCompiler) -> None:
    constraint = compiler.constraint(Guide("choice", '["certainly"]', "x"))
    forced = constraint.forced()
    assert tokenizer.decode(forced) == "certainly"
    assert constraint.fitting([*forced, 7]) == len(forced)
    assert constraint.fitting([7]) == 0


def test_a_missing_library_says_how_to_get_it(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(GrammarUnavailable, match=r"pip install 'fairlead-language-model\[grammar\]'"):
        GrammarCompiler(tokenizer, frozenset())
