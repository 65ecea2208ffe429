"""What requests say: one model each. The fields' descriptions are the documentation."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..settings import Element, Metric
from .errors import of_validation

#: A text or a whole number.
Id = str | int
Mode = Literal["vector", "text", "hybrid"]
Part = Literal["text", "metadata", "vector"]
B = TypeVar("B", bound="Body")


class Body(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CreateCollection(Body):
    """PUT /collections/NAME."""

    dim: int | None = Field(default=None, ge=1, le=65_536, description="Dimensions. Default: the embedding model's.")
    element: Element = Field(default="float32", description="What vectors are made of; bit: dim bits, packed.")
    metric: Metric = Field(default="cosine", description="l2, dot or cosine; bit vectors are compared by l2 (hamming).")


class Upsert(Body):
    """POST /collections/NAME/upsert: add documents, or replace those that are there."""

    ids: list[Id] = Field(min_length=1, description="One a document; each stands once.")
    vectors: Any = Field(default=None, description="Rows of numbers. Default: made of the texts.")
    texts: list[str | None] | None = Field(default=None, description="Searched by words, and kept.")
    metadata: list[dict[str, Any] | None] | None = Field(default=None, description="One object a document.")

    @model_validator(mode="after")
    def _alike(self) -> Upsert:
        for name in ("texts", "metadata"):
            rows = getattr(self, name)
            if rows is not None and len(rows) != len(self.ids):
                raise ValueError(f"{name} has {len(rows)} rows: accepted: {len(self.ids)}, one for each id")
        if self.vectors is None and self.texts is None:
            raise ValueError("accepted: vectors, or texts to make them of")
        return self


class Delete(Body):
    """POST /collections/NAME/delete."""

    ids: list[Id] | None = Field(default=None, description="Those that are not there are passed over.")
    filter: Any = Field(default=None, description="Every document that it fits.")

    @model_validator(mode="after")
    def _one(self) -> Delete:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("accepted: ids or filter, one of them")
        return self


class Get(Body):
    """POST /collections/NAME/get."""

    ids: list[Id] = Field(min_length=1)
    vectors: bool = Field(default=False, description="Also the exact vectors.")


class Scan(Body):
    """POST /collections/NAME/scan: all documents with their vectors, a page at a time, in no particular order."""

    after: int = Field(default=0, ge=0, description="`next` of the page before; 0: the first.")
    count: int = Field(default=500, ge=1, le=10_000, description="Documents of a page.")


class Deletions(Body):
    """POST /collections/NAME/deletions: ids that were deleted and not written again, a page at a time."""

    after: int = Field(default=0, ge=0, description="`next` of the page before; 0: the first.")
    count: int = Field(default=1000, ge=1, le=100_000, description="Ids of a page.")


class Restore(Body):
    """POST /collections/NAME/restore: make a new collection of a snapshot of this one."""

    snapshot: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Its name.")
    into: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Name of the new collection.")


class Search(Body):
    """POST /collections/NAME/search: one query or many."""

    vector: Any = Field(default=None, description="One query.")
    vectors: Any = Field(default=None, description="Rows, one a query.")
    text: str | None = Field(default=None, description="One query in words.")
    texts: list[str] | None = Field(default=None, description="One a query.")
    k: int = Field(default=10, ge=1, le=10_000, description="Results of each query, at most.")
    mode: Mode | None = Field(
        default=None,
        description="vector: by vectors (of the texts, where there are none); text: by words (BM25); hybrid: both, "
        "fused by rank. Default: vector.",
    )
    filter: Any = Field(default=None, description="Which documents may be found.")
    recall: float | None = Field(default=None, gt=0, le=1, description="To reach, on average; 1: exact search.")
    include: tuple[Part, ...] = Field(default=("text", "metadata"), description="What comes along with each id.")

    @model_validator(mode="after")
    def _queries(self) -> Search:
        vectors = [name for name in ("vector", "vectors") if getattr(self, name) is not None]
        texts = [name for name in ("text", "texts") if getattr(self, name) is not None]
        if len(vectors) > 1 or len(texts) > 1 or not vectors + texts:
            raise ValueError("accepted: vector or vectors, text or texts, or one of each")
        if self.texts is not None and not self.texts:
            raise ValueError("texts: accepted: one query and more")
        if self.mode == "text" and not texts:
            raise ValueError("mode = 'text': accepted with text or texts")
        if self.mode == "hybrid" and not texts:
            raise ValueError("mode = 'hybrid': accepted with text or texts")
        return self

    def words(self) -> list[str] | None:
        """The queries in words."""
        return [self.text] if self.text is not None else self.texts


class Recall(Body):
    """POST /collections/NAME/recall: compare with exact search on a sample."""

    sample: int = Field(default=100, ge=1, le=10_000, description="Queries.")
    k: int = Field(default=10, ge=1, le=1000)
    of: Literal["vectors", "queries"] = Field(
        default="vectors", description="What is searched for: stored vectors, or queries that came of late."
    )


class Calibrate(Body):
    """POST /collections/NAME/calibrate: measure anew what effort a recall takes, by queries."""

    vectors: Any = Field(
        default=None, description="Queries, 40 and more, as rows of numbers. Default: those that came of late."
    )


class Move(Body):
    """POST /collections/NAME/move: where vectors lie from now on; searches go on meanwhile."""

    tier: Literal["dram", "file", "memory"] = Field(description="Kind of tier.")
    url: str | None = Field(
        default=None, description="Of the memory node's region. Default: the workload's memory_nodes, in their order."
    )
    index: Literal["graph", "lists"] | None = Field(
        default=None, description="Kind of index in a lower tier. Default: the one there, else by the tier."
    )


class Snapshot(Body):
    """POST /collections/NAME/snapshot."""

    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Default: the time."
    )


class Maintain(Body):
    """POST /collections/NAME/maintain."""

    budget_s: float = Field(default=1.0, gt=0, le=600, description="Seconds of work, about.")


def parse(model: type[B], fields: Any) -> B:
    """Check a request's fields.

    Raises:
        ApiError: names the field, its value and what is accepted.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise of_validation(error) from None
