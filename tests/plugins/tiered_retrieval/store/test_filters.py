"""Filters: read from JSON, answered for all documents at once as for each by itself, and refused by name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_tiered_retrieval.errors import BadDocument, BadFilter
from fairlead_tiered_retrieval.store.columns import Columns
from fairlead_tiered_retrieval.store.documents import check_ids, check_metadata
from fairlead_tiered_retrieval.store.filters import (
    Between,
    Every,
    Exists,
    Not,
    OneOf,
    Some,
    matches,
    parse_filter,
    to_json,
)

SCALARS = st.sampled_from([True, False, 0, 1, 1.5, -2, "a", "b", ""])
METADATA = st.dictionaries(st.sampled_from("xy"), SCALARS | st.lists(SCALARS, max_size=2), max_size=2)
NAMES = st.sampled_from("xyz")
BETWEEN = st.builds(Between, NAMES, low=SCALARS, low_open=st.booleans()) | st.builds(
    Between, NAMES, low=st.sampled_from([-2, 0]), high=st.sampled_from([1, 1.5]), high_open=st.booleans()
)
FILTERS = st.recursive(
    st.builds(OneOf, NAMES, st.lists(SCALARS, min_size=1, max_size=3).map(tuple)) | BETWEEN | st.builds(Exists, NAMES),
    lambda part: (
        st.builds(Not, part)
        | st.builds(Every, st.lists(part, max_size=3).map(tuple))
        | st.builds(Some, st.lists(part, max_size=3).map(tuple))
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(METADATA, max_size=12), FILTERS, st.sets(st.integers(0, 11)))
def test_all_at_once_is_as_one_by_one(documents, condition, cleared):
    columns = Columns()
    columns.set(range(len(documents)), documents)
    gone = np.array(sorted(slot for slot in cleared if slot < len(documents)), np.int64)
    columns.clear(gone)
    left = [{} if slot in cleared else fields for slot, fields in enumerate(documents)]
    found = columns.matching(condition, len(documents))
    assert found.tolist() == [matches(condition, fields) for fields in left]


@given(FILTERS)
def test_in_json_and_back_it_says_the_same(condition):
    again = parse_filter(to_json(condition))
    for fields in ({}, {"x": 1}, {"x": True, "y": "a"}, {"y": [1.5, "b"], "x": -2}, {"x": ""}):
        assert matches(again, fields) == matches(condition, fields)


@pytest.mark.parametrize(
    ("given_filter", "message"),
    [
        ([1], "an object of fields"),
        ({"x": {"near": 1}}, "'near'; accepted: eq, ne"),
        ({"x": {}}, "accepted: eq, ne"),
        ({"x": {"gt": 1, "ge": 0}}, "gt and ge"),
        ({"x": {"gt": 1, "lt": "b"}}, "both of one type"),
        ({"x": float("nan")}, "x = nan"),
        ({"$nor": []}, r"'\$nor'; accepted"),
        ({"$and": {"x": 1}}, "a list of filters"),
        ({"x": {"exists": 1}}, "true or false"),
        ({"x": 1 << 60}, r"whole up to 2\*\*53"),
    ],
)
def test_what_says_nothing_is_refused(given_filter, message):
    with pytest.raises(BadFilter, match=message):
        parse_filter(given_filter)


def test_too_deep_is_refused():
    condition = {"x": 1}
    for _ in range(50):
        condition = {"$not": condition}
    with pytest.raises(BadFilter, match="nested more than 32"):
        parse_filter(condition)


@pytest.mark.parametrize(
    "ids", [["a", "a"], [1, np.int64(1)], [True], [""], [1 << 63], ["x" * 2000], ["\ud800"], [1.5]]
)
def test_ids_that_are_none_are_refused_by_row(ids):
    with pytest.raises(BadDocument, match=r"ids: .*accepted"):
        check_ids(ids)


@pytest.mark.parametrize("fields", [{"x": {}}, {"x": float("inf")}, {"$x": 1}, {"": 1}, {1: 1}, {"x": [None]}, 7])
def test_metadata_that_is_none_is_refused_by_row(fields):
    with pytest.raises(BadDocument, match="metadata: row 1"):
        check_metadata([None, fields], 2)
