"""The API as an OpenAPI 3.1 document, made from the models of its requests."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from . import arrow
from .bodies import (
    Body,
    Calibrate,
    CreateCollection,
    Delete,
    Deletions,
    Get,
    Maintain,
    Move,
    Recall,
    Restore,
    Scan,
    Search,
    Snapshot,
    Upsert,
)

VERSION = "0.1.0"
_REFERENCE = "#/components/schemas/{model}"
_POSTS: dict[str, tuple[type[Body], str]] = {
    "upsert": (Upsert, "Add documents, or replace those that are there; they are found at once."),
    "delete": (Delete, "Delete documents, by id or by filter."),
    "get": (Get, "Documents by id, in their order; null for those that are not there."),
    "scan": (Scan, "All documents that this instance holds, a page at a time."),
    "search": (Search, "Search for vectors, words or both."),
    "recall": (Recall, "Compare searches with exact ones on a sample of the collection."),
    "calibrate": (Calibrate, "Measure anew what effort a recall takes, by queries; recall before and after."),
    "move": (Move, "Move the vectors to another tier; searches go on meanwhile."),
    "snapshot": (Snapshot, "Write a consistent copy on the node."),
    "restore": (Restore, "Make a new collection of a snapshot."),
    "deletions": (Deletions, "What was deleted, a page at a time: for replicas that were away."),
    "maintain": (Maintain, "Work on what updates have left behind."),
}
_IN_ARROW = ("upsert", "search")


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """Return the document."""
    collection = "/collections/{name}"
    paths: dict[str, Any] = {
        "/collections": {"get": _operation("collections", "All collections.")},
        collection: {
            "get": _named("info", "Size, index, tier and searches of a collection."),
            "put": _named("create", "Make a collection, or find that it is there as asked.", CreateCollection),
            "delete": _named("drop", "Delete a collection and all that is in it."),
        },
        "/tiers": {"get": _operation("tiers", "Where vectors may lie, and what lies there.")},
        "/stats": {"get": _operation("stats", "Of the instance that answers.")},
        "/health": {"get": _operation("health", "200 while requests are taken.")},
        "/metrics": {"get": _operation("metrics", "In Prometheus's text format.")},
    }
    for name, (model, summary) in _POSTS.items():
        paths[f"{collection}/{name}"] = {"post": _named(name, summary, model, binary=name in _IN_ARROW)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fairlead tiered retrieval", "version": VERSION},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR, **_schemas()}},
    }


_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string", "description": "A word for programs."},
                "message": {"type": "string", "description": "One line for people."},
                "field": {"type": "string", "description": "Which field of the request is wrong."},
                "value": {"type": "string", "description": "What stood there."},
                "accepted": {"type": "string", "description": "What may stand there."},
            },
        }
    },
}


def _schemas() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for model in (CreateCollection, *(model for model, _ in _POSTS.values())):
        schema = model.model_json_schema(ref_template=_REFERENCE)
        found.update(schema.pop("$defs", {}))
        found[model.__name__] = schema
    return found


def _named(name: str, summary: str, model: type[Body] | None = None, *, binary: bool = False) -> dict[str, Any]:
    parameter = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    return {**_operation(name, summary, model, binary=binary), "parameters": [parameter]}


def _operation(name: str, summary: str, model: type[Body] | None = None, *, binary: bool = False) -> dict[str, Any]:
    error = {"$ref": _REFERENCE.format(model="Error")}
    answers = {
        "200": {"description": "Done."},
        "default": {"description": "Refused.", "content": {"application/json": {"schema": error}}},
    }
    found: dict[str, Any] = {"operationId": name, "summary": summary, "responses": answers}
    if model is not None:
        kinds: dict[str, Any] = {"application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}
        if binary:
            kinds[arrow.CONTENT_TYPE] = {}
        found["requestBody"] = {"required": True, "content": kinds}
    return found
